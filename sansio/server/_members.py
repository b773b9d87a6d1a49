"""What a request may be made of, as the types of the ``openai`` package say. Made; do not edit.

``python tests/kit/openai_shapes.py`` makes this module; tests/core/test_server_shapes.py compares it with the package.
A line that is not indented begins a shape: its name, then its members. A member is ``name:kind``, or ``name!:kind`` if
it is required. A kind is one of ``string``, ``integer``, ``number``, ``boolean``, ``null``, ``any``, a text in quotes,
``[kind]`` (an array), ``{kind}`` (an object with any names), or the name of a shape. ``|`` is "or".
"""

from __future__ import annotations

from typing import Final

__all__ = ["MEMBERS", "OPENAI_VERSION"]

OPENAI_VERSION: Final = "3.57"
"""The version of the package."""

MEMBERS: Final = """
AccessPrograms cyber:'standard'|'daybreak_blue'|'daybreak_red'
BackgroundOptions completion_window:'soonest'|'2h'|'8h' continuation_id:string
ContextManagement compact_threshold:integer|null type!:string
ResponseConversationParamParam id!:string
Image context_compression:'auto'|'enabled'|'disabled'
PromptCacheBreakpoint mode!:'explicit' ttl:'30m'|'12h'
ResponseInputTextParam prompt_cache_breakpoint:PromptCacheBreakpoint text!:string type!:'input_text'
ResponseInputImageParam detail:'low'|'high'|'auto'|'original' file_id:null|string image_url:null|string
    prompt_cache_breakpoint:PromptCacheBreakpoint type!:'input_image'
ResponseInputFileParam detail:'auto'|'low'|'high' file_data:string file_id:null|string file_url:string
    filename:string prompt_cache_breakpoint:PromptCacheBreakpoint type!:'input_file'
AnnotationFileCitation file_id!:string filename!:string index!:integer type!:'file_citation'
AnnotationURLCitation end_index!:integer start_index!:integer title!:string type!:'url_citation' url!:string
AnnotationContainerFileCitation container_id!:string end_index!:integer file_id!:string filename!:string
    start_index!:integer type!:'container_file_citation'
AnnotationFilePath file_id!:string index!:integer type!:'file_path'
LogprobTopLogprob bytes!:[integer] logprob!:number token!:string
Logprob bytes!:[integer] logprob!:number token!:string top_logprobs!:[LogprobTopLogprob]
ResponseOutputTextParam annotations:[AnnotationFileCitation| AnnotationURLCitation| AnnotationContainerFileCitation|
    AnnotationFilePath] logprobs:[Logprob] text!:string type!:'output_text'
ResponseOutputRefusalParam refusal!:string type!:'refusal'
AgentMessageAgent agent_name!:string
EasyInputMessageParam agent:null|AgentMessageAgent async:boolean|null content!:string| [ResponseInputTextParam|
    ResponseInputImageParam| ResponseInputFileParam| ResponseOutputTextParam| ResponseOutputRefusalParam]
    created_by:null|string id:string phase:null|'commentary'|'final_answer'
    role!:'user'|'assistant'|'system'|'developer' status:'in_progress'|'completed'|'incomplete' type:'message'
Result attributes:null|{boolean|number|string} file_id:string filename:string score:number text:string
ResponseFileSearchToolCallParam agent:null|AgentMessageAgent async:boolean|null created_by:null|string id:string
    queries!:[string] results:null|[Result] status!:'in_progress'|'searching'|'completed'|'incomplete'|'failed'
    type!:'file_search_call'
PendingSafetyCheck code:null|string id!:string message:null|string
ActionClick button!:'left'|'right'|'wheel'|'back'|'forward' keys:null|[string] type!:'click' x!:integer y!:integer
ActionDoubleClick keys!:null|[string] type!:'double_click' x!:integer y!:integer
ActionDragPath x!:integer y!:integer
ActionDrag keys:null|[string] path!:[ActionDragPath] type!:'drag'
ActionKeypress keys!:[string] type!:'keypress'
ActionMove keys:null|[string] type!:'move' x!:integer y!:integer
ActionScreenshot type!:'screenshot'
ActionScroll keys:null|[string] scroll_x!:integer scroll_y!:integer type!:'scroll' x!:integer y!:integer
ActionType text!:string type!:'type'
ActionWait type!:'wait'
ResponseComputerToolCallParam action:ActionClick| ActionDoubleClick| ActionDrag| ActionKeypress| ActionMove|
    ActionScreenshot| ActionScroll| ActionType| ActionWait actions:[ActionClick| ActionDoubleClick| ActionDrag|
    ActionKeypress| ActionMove| ActionScreenshot| ActionScroll| ActionType| ActionWait] agent:null|AgentMessageAgent
    async:boolean|null call_id!:string created_by:null|string id:string pending_safety_checks!:[PendingSafetyCheck]
    status!:'in_progress'|'completed'|'incomplete' type!:'computer_call'
ResponseComputerToolCallOutputScreenshotParam file_id:string image_url:string type!:'computer_screenshot'
ComputerCallOutput acknowledged_safety_checks:null|[PendingSafetyCheck] agent:null|AgentMessageAgent
    async:boolean|null call_id!:string created_by:null|string id:null|string
    output!:ResponseComputerToolCallOutputScreenshotParam status:null|'in_progress'|'completed'|'incomplete'
    type!:'computer_call_output'
ActionSearchSource type!:'url' url!:string
ActionSearch queries:[string] query:string sources:[ActionSearchSource] type!:'search'
ActionOpenPage type!:'open_page' url:null|string
ActionFind pattern!:string type!:'find_in_page' url!:string
ResponseFunctionWebSearchParam action:ActionSearch|ActionOpenPage|ActionFind agent:null|AgentMessageAgent
    async:boolean|null created_by:null|string id:string
    status!:'in_progress'|'searching'|'completed'|'incomplete'|'failed' type!:'web_search_call'
CallerDirect type!:'direct'
CallerProgram caller_id!:string type!:'program'
ResponseFunctionToolCallParam agent:null|AgentMessageAgent arguments!:string async:boolean call_id!:string
    caller:null|CallerDirect|CallerProgram created_by:null|string id:string name!:string namespace:string
    status:'in_progress'|'completed'|'incomplete' type!:'function_call'
ResponseInputTextContentParam prompt_cache_breakpoint:null|PromptCacheBreakpoint text!:string type!:'input_text'
ResponseInputImageContentParam detail:null|'low'|'high'|'auto'|'original' file_id:null|string image_url:null|string
    prompt_cache_breakpoint:null|PromptCacheBreakpoint type!:'input_image'
ResponseInputFileContentParam detail:'auto'|'low'|'high' file_data:null|string file_id:null|string
    file_url:null|string filename:null|string prompt_cache_breakpoint:null|PromptCacheBreakpoint type!:'input_file'
FunctionCallOutput agent:null|AgentMessageAgent async:boolean|null call_id:null|string
    caller:null|CallerDirect|CallerProgram created_by:null|string id:null|string name:null|string
    namespace:null|string output!:string| [ResponseInputTextContentParam| ResponseInputImageContentParam|
    ResponseInputFileContentParam] status:null|'in_progress'|'completed'|'incomplete' type!:'function_call_output'
ToolSearchCall agent:null|AgentMessageAgent arguments!:any async:boolean|null call_id:null|string
    created_by:null|string execution:'server'|'client' id:null|string
    status:null|'in_progress'|'completed'|'incomplete' type!:'tool_search_call'
FunctionToolParam allowed_callers:null|['direct'|'programmatic'] async:boolean defer_loading:boolean
    description:null|string name!:string output_schema:null|{any} parameters:null|{any} strict:boolean|null
    type!:'function'
ComparisonFilter key!:string type!:'eq'|'ne'|'gt'|'gte'|'lt'|'lte'|'in'|'nin'
    value!:boolean|number|string|[number|string]
CompoundFilter filters!:[any|ComparisonFilter] type!:'and'|'or'
RankingOptionsHybridSearch embedding_weight!:number text_weight!:number
RankingOptions hybrid_search:RankingOptionsHybridSearch ranker:'auto'|'default-2024-11-15' score_threshold:number
FileSearchToolParam filters:null|ComparisonFilter|CompoundFilter max_num_results:integer
    ranking_options:RankingOptions type!:'file_search' vector_store_ids!:[string]
ComputerToolParam type!:'computer'
ComputerUsePreviewToolParam display_height!:integer display_width!:integer
    environment!:'windows'|'mac'|'linux'|'ubuntu'|'browser' type!:'computer_use_preview'
Filters allowed_domains:null|[string]
UserLocation city:null|string country:null|string region:null|string timezone:null|string type:'approximate'
WebSearchToolParam external_web_access:boolean filters:null|Filters search_context_size:'low'|'medium'|'high'
    type!:'web_search'|'web_search_2025_08_26' user_location:null|UserLocation
ToolMcpAllowedToolsMcpToolFilter read_only:boolean tool_names:[string]
ToolMcpRequireApprovalMcpToolApprovalFilter always:ToolMcpAllowedToolsMcpToolFilter
    never:ToolMcpAllowedToolsMcpToolFilter
ToolMcp allowed_callers:null|['direct'|'programmatic'] allowed_tools:null|[string]|ToolMcpAllowedToolsMcpToolFilter
    authorization:string connector_id:'connector_dropbox'| 'connector_gmail'| 'connector_googlecalendar'|
    'connector_googledrive'| 'connector_microsoftteams'| 'connector_outlookcalendar'| 'connector_outlookemail'|
    'connector_sharepoint' defer_loading:boolean headers:null|{string}
    require_approval:null|'always'|'never'|ToolMcpRequireApprovalMcpToolApprovalFilter server_description:string
    server_label!:string server_url:string tunnel_id:string type!:'mcp'
ContainerNetworkPolicyDisabledParam type!:'disabled'
ContainerNetworkPolicyDomainSecretParam domain!:string name!:string value!:string
ContainerNetworkPolicyAllowlistParam allowed_domains!:[string]
    domain_secrets:[ContainerNetworkPolicyDomainSecretParam] type!:'allowlist'
ToolCodeInterpreterContainerCodeInterpreterToolAuto file_ids:[string] memory_limit:null|'1g'|'4g'|'16g'|'64g'
    network_policy:ContainerNetworkPolicyDisabledParam|ContainerNetworkPolicyAllowlistParam type!:'auto'
ToolCodeInterpreter allowed_callers:null|['direct'|'programmatic']
    container!:string|ToolCodeInterpreterContainerCodeInterpreterToolAuto type!:'code_interpreter'
ToolProgrammaticToolCalling type!:'programmatic_tool_calling'
ToolImageGenerationInputImageMask file_id:string image_url:string
ToolImageGenerationSvgReasoning effort:'none'|'minimal'|'low'|'medium'|'high'|'xhigh'|'max'
ToolImageGenerationSvg model:string reasoning:null|ToolImageGenerationSvgReasoning
ToolImageGeneration action:'generate'|'edit'|'auto' background:'transparent'|'opaque'|'auto'
    complexity:'low'|'medium'|'high' frame_count:integer frame_duration_ms:integer input_fidelity:null|'high'|'low'
    input_image_mask:ToolImageGenerationInputImageMask model:string moderation:'auto'|'low'
    output_compression:integer output_format:'png'|'webp'|'jpeg'|'gif'|'svg' partial_images:integer
    quality:'low'|'medium'|'high'|'xhigh'|'max'|'auto' size:string svg:ToolImageGenerationSvg
    type!:'image_generation'
ToolLocalShell type!:'local_shell'
SkillReferenceParam skill_id!:string type!:'skill_reference' version:string
InlineSkillSourceParam data!:string media_type!:'application/zip' type!:'base64'
InlineSkillParam description!:string name!:string source!:InlineSkillSourceParam type!:'inline'
ContainerAutoParam file_ids:[string] memory_limit:null|'1g'|'4g'|'16g'|'64g'
    network_policy:ContainerNetworkPolicyDisabledParam|ContainerNetworkPolicyAllowlistParam
    skills:[SkillReferenceParam|InlineSkillParam] type!:'container_auto'
LocalSkillParam description!:string name!:string path!:string
LocalEnvironmentParam skills:[LocalSkillParam] type!:'local'
ContainerReferenceParam container_id!:string type!:'container_reference'
FunctionShellToolParam allowed_callers:null|['direct'|'programmatic']
    environment:null|ContainerAutoParam|LocalEnvironmentParam|ContainerReferenceParam type!:'shell'
Text type!:'text'
Grammar definition!:string syntax!:'lark'|'regex' type!:'grammar'
CustomToolParam allowed_callers:null|['direct'|'programmatic'] async:boolean defer_loading:boolean
    description:string format:Text|Grammar name!:string type!:'custom'
ToolFunction allowed_callers:null|['direct'|'programmatic'] async:boolean defer_loading:boolean
    description:null|string name!:string output_schema:null|{any} parameters:any|null strict:boolean|null
    type!:'function'
ToolSearchOutputNamespaceToolParam description!:string name!:string tools!:[ToolFunction|CustomToolParam]
    type!:'namespace'
ToolSearchToolParam description:null|string execution:'server'|'client' parameters:any|null type!:'tool_search'
UserLocation2 city:null|string country:null|string region:null|string timezone:null|string type!:'approximate'
WebSearchPreviewToolParam search_content_types:['text'|'image'] search_context_size:'low'|'medium'|'high'
    type!:'web_search_preview'|'web_search_preview_2025_03_11' user_location:null|UserLocation2
ApplyPatchToolParam allowed_callers:null|['direct'|'programmatic'] type!:'apply_patch'
ResponseToolSearchOutputItemParamParam agent:null|AgentMessageAgent async:boolean|null call_id:null|string
    created_by:null|string execution:'server'|'client' id:null|string
    status:null|'in_progress'|'completed'|'incomplete' tools!:[FunctionToolParam| FileSearchToolParam|
    ComputerToolParam| ComputerUsePreviewToolParam| WebSearchToolParam| ToolMcp| ToolCodeInterpreter|
    ToolProgrammaticToolCalling| ToolImageGeneration| ToolLocalShell| FunctionShellToolParam| CustomToolParam|
    ToolSearchOutputNamespaceToolParam| ToolSearchToolParam| WebSearchPreviewToolParam| ApplyPatchToolParam]
    type!:'tool_search_output'
AdditionalTools agent:null|AgentMessageAgent async:boolean|null created_by:null|string id:null|string
    role!:'developer' tools!:[FunctionToolParam| FileSearchToolParam| ComputerToolParam|
    ComputerUsePreviewToolParam| WebSearchToolParam| ToolMcp| ToolCodeInterpreter| ToolProgrammaticToolCalling|
    ToolImageGeneration| ToolLocalShell| FunctionShellToolParam| CustomToolParam|
    ToolSearchOutputNamespaceToolParam| ToolSearchToolParam| WebSearchPreviewToolParam| ApplyPatchToolParam]
    type!:'additional_tools'
Reasoning effort:null|'none'|'minimal'|'low'|'medium'|'high'|'xhigh'|'max'
ResponseFormatTextJSONSchemaConfigParam description:string name!:string schema!:{any} strict:boolean|null
    type!:'json_schema'
Text2 format!:Text|ResponseFormatTextJSONSchemaConfigParam
ResponseConfigurationUpdateItemParamParam agent:null|AgentMessageAgent async:boolean|null created_by:null|string
    id:null|string reasoning:Reasoning text:Text2 type!:'configuration_update'
Summary text!:string type!:'summary_text'
Content text!:string type!:'reasoning_text'
ResponseReasoningItemParam agent:null|AgentMessageAgent async:boolean|null content:[Content] created_by:null|string
    encrypted_content:null|string id:string summary!:[Summary] type!:'reasoning'
ResponseCompactionItemParamParam agent:null|AgentMessageAgent async:boolean|null created_by:null|string
    encrypted_content!:string id:null|string type!:'compaction'
ImageGenerationCallErrorModerationDetails categories!:[string] moderation_stage!:'input'|'output'|'unknown'
ImageGenerationCallError code!:null|string message!:string
    moderation_details:ImageGenerationCallErrorModerationDetails param!:null|string type!:string
ImageGenerationCallSvgUsage input_tokens!:integer model!:string output_tokens!:integer reasoning_tokens!:integer
    total_tokens!:integer
ImageGenerationCall action:null|'generate'|'edit'|'auto' agent:null|AgentMessageAgent async:boolean|null
    background:null|'transparent'|'opaque'|'auto' created_by:null|string error:ImageGenerationCallError id:string
    output_format:null|'png'|'webp'|'jpeg'|'gif'|'svg' quality:null|'low'|'medium'|'high'|'xhigh'|'max'|'auto'
    result!:null|string revised_prompt:null|string size:null|string
    status!:'in_progress'|'completed'|'generating'|'failed' svg_usage:ImageGenerationCallSvgUsage
    type!:'image_generation_call'
OutputLogs logs!:string type!:'logs'
OutputImage type!:'image' url!:string
ResponseCodeInterpreterToolCallParam agent:null|AgentMessageAgent async:boolean|null code!:null|string
    container_id!:string created_by:null|string id:string outputs!:null|[OutputLogs|OutputImage]
    status!:'in_progress'|'completed'|'incomplete'|'interpreting'|'failed' type!:'code_interpreter_call'
LocalShellCallAction command!:[string] env!:{string} timeout_ms:integer|null type!:'exec' user:null|string
    working_directory:null|string
LocalShellCall action!:LocalShellCallAction agent:null|AgentMessageAgent async:boolean|null call_id!:string
    created_by:null|string id:string status!:'in_progress'|'completed'|'incomplete' type!:'local_shell_call'
LocalShellCallOutput agent:null|AgentMessageAgent async:boolean|null call_id:string created_by:null|string id:string
    output!:string status:null|'in_progress'|'completed'|'incomplete' type!:'local_shell_call_output'
ShellCallAction commands!:[string] max_output_length:integer|null timeout_ms:integer|null
ShellCall action!:ShellCallAction agent:null|AgentMessageAgent async:boolean|null call_id!:string
    caller:null|CallerDirect|CallerProgram created_by:null|string
    environment:null|LocalEnvironmentParam|ContainerReferenceParam id:null|string
    status:null|'in_progress'|'completed'|'incomplete' type!:'shell_call'
OutcomeTimeout type!:'timeout'
OutcomeExit exit_code!:integer type!:'exit'
ResponseFunctionShellCallOutputContentParam outcome!:OutcomeTimeout|OutcomeExit stderr!:string stdout!:string
ShellCallOutput agent:null|AgentMessageAgent async:boolean|null call_id!:string
    caller:null|CallerDirect|CallerProgram created_by:null|string id:null|string max_output_length:integer|null
    output!:[ResponseFunctionShellCallOutputContentParam] status:null|'in_progress'|'completed'|'incomplete'
    type!:'shell_call_output'
ApplyPatchCallOperationCreateFile diff!:string path!:string type!:'create_file'
ApplyPatchCallOperationDeleteFile path!:string type!:'delete_file'
ApplyPatchCallOperationUpdateFile diff!:string path!:string type!:'update_file'
ApplyPatchCall agent:null|AgentMessageAgent async:boolean|null call_id!:string
    caller:null|CallerDirect|CallerProgram created_by:null|string id:null|string
    operation!:ApplyPatchCallOperationCreateFile| ApplyPatchCallOperationDeleteFile|
    ApplyPatchCallOperationUpdateFile status!:'in_progress'|'completed' type!:'apply_patch_call'
ApplyPatchCallOutput agent:null|AgentMessageAgent async:boolean|null call_id!:string
    caller:null|CallerDirect|CallerProgram created_by:null|string id:null|string output:null|string
    status!:'completed'|'failed' type!:'apply_patch_call_output'
McpListToolsTool annotations:any|null description:null|string input_schema!:any name!:string
McpListTools agent:null|AgentMessageAgent async:boolean|null created_by:null|string error:null|string id:string
    server_label!:string tools!:[McpListToolsTool] type!:'mcp_list_tools'
McpApprovalRequest agent:null|AgentMessageAgent arguments!:string async:boolean|null created_by:null|string
    id:string name!:string server_label!:string type!:'mcp_approval_request'
McpApprovalResponse agent:null|AgentMessageAgent approval_request_id!:string approve!:boolean async:boolean|null
    created_by:null|string id:null|string reason:null|string type!:'mcp_approval_response'
McpProtocolError code!:integer message!:string type!:'mcp_protocol_error'
McpToolExecutionError content!:any type!:'mcp_tool_execution_error'
HTTPError code!:integer message!:string type!:'http_error'
McpCall agent:null|AgentMessageAgent approval_request_id:null|string arguments!:string async:boolean|null
    created_by:null|string error:null|McpProtocolError|McpToolExecutionError|HTTPError id:string name!:string
    output:null|string server_label!:string status:'in_progress'|'completed'|'incomplete'|'calling'|'failed'
    type!:'mcp_call'
ResponseCustomToolCallOutputParam agent:null|AgentMessageAgent async:boolean|null call_id!:string
    caller:null|CallerDirect|CallerProgram created_by:null|string id:string
    output!:string|[ResponseInputTextParam|ResponseInputImageParam|ResponseInputFileParam]
    status:null|'in_progress'|'completed'|'incomplete' type!:'custom_tool_call_output'
ResponseCustomToolCallParam agent:null|AgentMessageAgent async:boolean call_id!:string
    caller:null|CallerDirect|CallerProgram created_by:null|string id:string input!:string name!:string
    namespace:string status:null|'in_progress'|'completed'|'incomplete' type!:'custom_tool_call'
CompactionTrigger agent:null|AgentMessageAgent async:boolean|null created_by:null|string id:null|string
    type!:'compaction_trigger'
ItemReference id!:string type:null|'item_reference'
Program agent:null|AgentMessageAgent async:boolean|null call_id!:string code!:string created_by:null|string
    fingerprint!:string id:string type!:'program'
ProgramOutput agent:null|AgentMessageAgent async:boolean|null call_id!:string created_by:null|string id:string
    result!:string status!:'completed'|'incomplete' type!:'program_output'
AgentMessageContentEncryptedContent encrypted_content!:string type!:'encrypted_content'
AgentMessage agent:null|AgentMessageAgent async:boolean|null author!:string content!:[ResponseInputTextContentParam|
    ResponseInputImageContentParam| AgentMessageContentEncryptedContent] created_by:null|string id:null|string
    recipient!:string type!:'agent_message'
MultiAgentCall action!:'spawn_agent'|'interrupt_agent'|'list_agents'|'send_message'|'followup_task'|'wait_agent'
    agent:null|AgentMessageAgent arguments!:string async:boolean|null call_id!:string created_by:null|string
    id:null|string type!:'multi_agent_call'
MultiAgentCallOutputOutput
    annotations:[AnnotationFileCitation|AnnotationURLCitation|AnnotationContainerFileCitation] text!:string
    type!:'output_text'
MultiAgentCallOutput
    action!:'spawn_agent'|'interrupt_agent'|'list_agents'|'send_message'|'followup_task'|'wait_agent'
    agent:null|AgentMessageAgent async:boolean|null call_id!:string created_by:null|string id:null|string
    output!:[MultiAgentCallOutputOutput] type!:'multi_agent_call_output'
ModerationPolicyInput mode!:'score'|'block'
ModerationPolicy input:null|ModerationPolicyInput output:null|ModerationPolicyInput
Moderation model!:string policy:null|ModerationPolicy
ResponsePromptParam id!:string
    variables:null|{string|ResponseInputTextParam|ResponseInputImageParam|ResponseInputFileParam}
    version:null|string
PromptCacheOptions comparison_response_id:null|string mode:'implicit'|'explicit' prewarm:boolean ttl:'30m'|'12h'
Reasoning2 context:null|'auto'|'current_turn'|'all_turns'
    effort:null|'none'|'minimal'|'low'|'medium'|'high'|'xhigh'|'max'
    generate_summary:null|'auto'|'concise'|'detailed' mode:string summary:null|'auto'|'concise'|'detailed'
StreamOptions include_obfuscation:boolean
ResponseFormatJSONObject type!:'json_object'
ResponseTextConfigParam format:Text|ResponseFormatTextJSONSchemaConfigParam|ResponseFormatJSONObject
    verbosity:null|'low'|'medium'|'high'
ToolChoiceAllowedParam mode!:'auto'|'required' tools!:[{any}] type!:'allowed_tools'
ToolChoiceTypesParam type!:'file_search'| 'web_search_preview'| 'computer'| 'computer_use_preview'| 'computer_use'|
    'web_search_preview_2025_03_11'| 'image_generation'| 'code_interpreter'| 'web_search'
ToolChoiceFunctionParam name!:string type!:'function'
ToolChoiceMcpParam name:null|string server_label!:string type!:'mcp'
ToolChoiceCustomParam name!:string type!:'custom'
ToolChoiceApplyPatchParam type!:'apply_patch'
ToolChoiceShellParam type!:'shell'
Request access_programs:AccessPrograms background:boolean|null background_options:BackgroundOptions
    context_management:null|[ContextManagement] conversation:null|string|ResponseConversationParamParam image:Image
    include:null| ['file_search_call.results'| 'web_search_call.results'| 'web_search_call.action.sources'|
    'message.input_image.image_url'| 'computer_call_output.output.image_url'| 'code_interpreter_call.outputs'|
    'reasoning.encrypted_content'| 'message.output_text.logprobs'] input:string| [EasyInputMessageParam|
    ResponseFileSearchToolCallParam| ResponseComputerToolCallParam| ComputerCallOutput|
    ResponseFunctionWebSearchParam| ResponseFunctionToolCallParam| FunctionCallOutput| ToolSearchCall|
    ResponseToolSearchOutputItemParamParam| AdditionalTools| ResponseConfigurationUpdateItemParamParam|
    ResponseReasoningItemParam| ResponseCompactionItemParamParam| ImageGenerationCall|
    ResponseCodeInterpreterToolCallParam| LocalShellCall| LocalShellCallOutput| ShellCall| ShellCallOutput|
    ApplyPatchCall| ApplyPatchCallOutput| McpListTools| McpApprovalRequest| McpApprovalResponse| McpCall|
    ResponseCustomToolCallOutputParam| ResponseCustomToolCallParam| CompactionTrigger| ItemReference| Program|
    ProgramOutput| AgentMessage| MultiAgentCall| MultiAgentCallOutput] instructions:null|string
    max_output_tokens:integer|null max_tool_calls:integer|null metadata:null|{string} model:string
    moderation:null|Moderation parallel_tool_calls:boolean|null previous_response_id:null|string
    prompt:null|ResponsePromptParam prompt_cache_key:null|string prompt_cache_options:PromptCacheOptions
    prompt_cache_retention:null|'in_memory'|'24h' reasoning:null|Reasoning2 safety_identifier:null|string
    service_tier:null|'auto'|'default'|'flex'|'scale'|'priority'|'fast'|'ultrafast' store:boolean|null
    stream:boolean|null stream_options:null|StreamOptions temperature:null|number text:ResponseTextConfigParam
    tool_choice:'none'| 'auto'| 'required'| ToolChoiceAllowedParam| ToolChoiceTypesParam| ToolChoiceFunctionParam|
    ToolChoiceMcpParam| ToolChoiceCustomParam| ToolProgrammaticToolCalling| ToolChoiceApplyPatchParam|
    ToolChoiceShellParam tools:[FunctionToolParam| FileSearchToolParam| ComputerToolParam|
    ComputerUsePreviewToolParam| WebSearchToolParam| ToolMcp| ToolCodeInterpreter| ToolProgrammaticToolCalling|
    ToolImageGeneration| ToolLocalShell| FunctionShellToolParam| CustomToolParam|
    ToolSearchOutputNamespaceToolParam| ToolSearchToolParam| WebSearchPreviewToolParam| ApplyPatchToolParam]
    top_logprobs:integer|null top_p:null|number truncation:null|'auto'|'disabled' user:string
Event generate:boolean stream_id:string type!:'response.create'
"""
