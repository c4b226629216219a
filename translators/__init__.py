"""The pure core: OpenAI's chat completions in and out of each provider's own wire format. Values in, values out.

    exchange       the values that a translator takes and gives, and the shape of one
    errors         what can go wrong, by whose fault
    chat_request   the caller's body, parsed and checked
    outcomes       what becomes of each of OpenAI's features in a dialect
    media          images and files within a request
    recall         signed reasoning, kept for clients that do not send it back
    usage          tokens in disjoint buckets
    sse            server-sent events, from bytes
    choices        several answers as the choices of one
    completion     OpenAI's answers and chunks, as written by us
    openai, anthropic, gemini    the dialects, one module each
    openrouter     OpenAI's shape with its own manners, composed
    vertex…        a host's envelope around its makers' dialects, composed
    registry       all of them by name

Nothing here does I/O, reads a clock, or knows of the gateway. Dialects do not import each other, save those composed.
"""
