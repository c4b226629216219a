"""The pure core: OpenAI's chat completions in and out of each provider's own wire format. Values in, values out.

    exchange       the values that a translator takes and gives, and the shape of one
    errors         what can go wrong, by whose fault
    json_values    JSON of any kind, read and written without a surprise

    chat_request   the caller's body, parsed and checked
    outcomes       what becomes of each of OpenAI's features in a dialect
    plain          requests of text alone, which are most
    media          images and files within a request
    schema, closed_schema    JSON schemas made to fit: Gemini's keywords; the closed objects that Claude is held to
    tools          tools, the choice among them and their calls, for Claude's two dialects; as are the next five:
    answer_form    response_format, where another word or a tool stands in for it
    effort         reasoning_effort as `thinking` and a level
    turns          messages as `system` and alternating turns
    reasoning      signed reasoning put back before its turn
    cache_marks    where the prompt's cache is to be written
    recall         the names under which it is kept for clients that do not send it back

    sse, json_array, event_stream    a stream's events, from bytes
    usage          tokens in disjoint buckets
    message        an answer's blocks as OpenAI's deltas, for Claude's two dialects
    deltas         deltas put together, and counted
    completion     OpenAI's answers and chunks, as written by us
    choices        several answers as the choices of one

    openai         and every host that speaks its shape; _usage, _error
    anthropic      request, _messages (its turns); _answer, _blocks (what comes back)
    gemini         request, _turns, _tools; _answer, _candidate (one choice), _arguments (streamed), _usage, _error
    bedrock        request, _turns, _media, _tools; _answer, _blocks
    openrouter     OpenAI's shape with its own manners, composed
    vertex         Gemini in Vertex's envelope; _anthropic, _openai (its other makers' shapes), composed
    registry       all of them by name

Nothing here does I/O, reads a clock, or knows of the gateway. Dialects do not import each other, save those composed;
what two of them share has a module of its own.
"""
