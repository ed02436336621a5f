"""The ways in which other providers count, and which of all it is: the names of the counts tell."""

from __future__ import annotations

from collections.abc import Callable

from django_token_pricing.lib.provider_usage.blocks import Block, block_of, missing, whole
from django_token_pricing.lib.provider_usage.chat import chat, messages
from django_token_pricing.lib.provider_usage.common import Context, above, name_of, off
from django_token_pricing.lib.provider_usage.results import Counts

# Their answers on embeddings give a total and nothing else.
TOTAL_ONLY = {"voyageai", "jina"}
HEADER = "x-amzn-bedrock-{}-token-count"


def gemini(block: Block, context: Context) -> Counts:
    """The prompt holds what was cached; thoughts and the answers of tools are counted beside, as the total tells."""
    prompt = block.needed("prompt_token_count", "total_input_tokens")
    tools = block.find("tool_use_prompt_token_count", "total_tool_use_tokens") or 0
    thoughts = block.find("thoughts_token_count", "total_thought_tokens", "total_reasoning_tokens") or 0
    # A message of protobuf says 0 for what is not there.
    total = block.find("total_token_count", "total_tokens") or None
    answer = block.find("candidates_token_count", "response_token_count", "total_output_tokens")
    if answer is None:
        if total is None and not context.is_embedding:
            raise missing(block, "candidates_token_count")
        answer = 0
    sums = [(prompt + tools, answer + thoughts), (prompt, answer + thoughts)]
    if thoughts <= answer:
        sums += [(prompt + tools, answer), (prompt, answer)]
    taken, given = next((both for both in sums if total in (None, sum(both))), (-1, -1))
    if taken < 0:
        raise off(name_of(block, "total_token_count"), total or 0, "the other counts", sum(sums[0]))
    return Counts(
        input=taken,
        output=given,
        cached_read=block.find("cached_content_token_count", "total_cached_tokens") or 0,
        reasoning=thoughts,
    )


def cohere(block: Block, context: Context) -> Counts:
    """What is billed; `tokens` have the provider's own prompt on top, and `cached_tokens` are part of those."""
    billed, tokens = block.part("billed_units"), block.part("tokens")
    source = billed if billed.find("input_tokens") is not None else tokens
    taken = source.needed("input_tokens")
    given = source.find("output_tokens")
    if given is None and not context.is_embedding:
        raise missing(source, "output_tokens")
    cached = block.find("cached_tokens") or tokens.find("cached_tokens") or 0
    most = max(tokens.find("input_tokens") or 0, taken)
    if cached > most:
        raise above("cached_tokens", cached, "input_tokens", most)
    return Counts(input=taken, output=given or 0, cached_read=min(cached, taken))


def bedrock_metrics(block: Block, context: Context) -> Counts:
    """What Bedrock adds to the answer of any model: cached input is counted beside."""
    taken = block.needed("input_token_count")
    given = block.find("output_token_count")
    if given is None and not context.is_embedding:
        raise missing(block, "output_token_count")
    read = block.find("cache_read_input_token_count") or 0
    written = block.find("cache_write_input_token_count") or 0
    return Counts(input=taken + read + written, output=given or 0, cached_read=read, cached_write=written)


def bedrock_headers(block: Block, context: Context) -> Counts:
    """The same in the headers of the answer, where numbers are text."""
    found = {}
    for name in ("input", "output", "cache-read-input", "cache-write-input"):
        header = HEADER.format(name)
        text = block.get(header)
        if isinstance(text, str) and text.strip().isascii() and text.strip().isdigit() and len(text) < 20:
            text = int(text)
        if text is not None:
            found[name.replace("-", "_") + "_token_count"] = whole(text, header)
    return bedrock_metrics(Block(found), context)


def llama(block: Block, context: Context) -> Counts:
    """Meta's own answer on Bedrock."""
    return Counts(input=block.needed("prompt_token_count"), output=block.needed("generation_token_count"))


def titan(block: Block, context: Context) -> Counts:
    """Amazon's older own answer on Bedrock: a count for each result, or one for all of a stream."""
    taken = block.needed("input_text_token_count")
    given = block.find("total_output_text_token_count")
    results = block.get("results")
    if given is None and isinstance(results, (list, tuple)):
        parts = [part for part in map(block_of, results) if part is not None]
        given = sum(part.needed("token_count") for part in parts) if parts else None
    if given is None and not context.is_embedding:
        raise missing(block, "total_output_text_token_count")
    return Counts(input=taken, output=given or 0)


def ollama(block: Block, context: Context) -> Counts:
    return Counts(input=block.needed("prompt_eval_count"), output=block.needed("eval_count"))


def total_only(block: Block, context: Context) -> Counts:
    """An embedding takes input alone, so that its total is that."""
    if not context.is_embedding and context.provider not in TOTAL_ONLY:
        raise missing(block, "prompt_tokens")
    return Counts(input=block.needed("total_tokens", "total_token_count"), output=0)


Family = Callable[[Block, Context], Counts]


def family_of(block: Block) -> Family | None:
    """By the names of the counts alone; None where there are none that we know."""
    if block.has("billed_units") or block_of(block.get("tokens")) is not None:
        return cohere
    if block.has("prompt_tokens", "completion_tokens"):
        return chat
    if block.has("generation_token_count"):
        return llama
    if block.has("prompt_token_count", "candidates_token_count", "response_token_count", "thoughts_token_count"):
        return gemini
    if block.has("total_input_tokens", "total_output_tokens"):
        return gemini
    if block.has("input_tokens", "output_tokens"):
        return messages
    if block.has("input_token_count", "output_token_count"):
        return bedrock_metrics
    if block.has("input_text_token_count"):
        return titan
    if block.has("prompt_eval_count", "eval_count"):
        return ollama
    if block.has(HEADER.format("input"), HEADER.format("output")):
        return bedrock_headers
    return total_only if block.has("total_tokens", "total_token_count") else None
