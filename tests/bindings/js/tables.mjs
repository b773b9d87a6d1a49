// The tables of sansio/spec/tables.json, read once. Nothing of them is written again here.

import { readFileSync } from "node:fs";

const path = process.env.TURNWIRE_TABLES ?? new URL("../../../sansio/spec/tables.json", import.meta.url);
export const tables = JSON.parse(readFileSync(path, "utf8"));

export const inRanges = (number, ranges) => ranges.some(([low, high]) => low <= number && number <= high);
export const inOrder = (phase) => tables.phases.find(({ name }) => name === phase).order;
export const named = (rows, name) => rows.find((row) => row.name === name);
