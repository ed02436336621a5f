"""OpenAI and all who answer like it; Anthropic and Bedrock, whose counts have the names of OpenAI's responses.

`input` and `output` of the result hold everything: what was cached, kept, thought. Providers differ in whether their
own counts do. The functions say how each counts, from the providers' references of November 2026.
"""

from __future__ import annotations

from django_token_pricing.lib.provider_usage.blocks import Block, block_of, first_of
from django_token_pricing.lib.provider_usage.common import Context, name_of, off
from django_token_pricing.lib.provider_usage.errors import UnreadableUsage, gettext_noop
from django_token_pricing.lib.provider_usage.results import Counts

# These count cached input beside input_tokens.
BESIDE_INPUT = {"anthropic", "aws"}
# Of these chat completions, reasoning is beside completion_tokens where no total says otherwise.
BESIDE_OUTPUT = {"x-ai", "perplexity"}

READ = ("cached_tokens", "cache_read_tokens", "cache_read_input_tokens", "cache_read")
READ_BESIDE = ("cache_read_input_tokens", "cache_read_input_token_count")
WRITTEN = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens", "cache_write_input_tokens")
WRITTEN_BESIDE = ("cache_creation_input_tokens", "cache_write_input_tokens", "cache_write_input_token_count")
LIVES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
REASONING = ("reasoning_tokens", "thinking_tokens", "reasoning")
INPUT_DETAILS = ("prompt_tokens_details", "prompt_token_details", "input_tokens_details", "input_token_details")
OUTPUT_DETAILS = (
    "completion_tokens_details",
    "completion_token_details",
    "output_tokens_details",
    "output_token_details",
)

Said = tuple[str, "int | None"]


def chat(block: Block, context: Context) -> Counts:
    """Chat completions and embeddings: cached input is part of the input, reasoning of the output.

    xAI and some of Google count reasoning beside completion_tokens; then the total holds it.
    """
    taken = block.needed("prompt_tokens", "input_tokens")
    total = block.find("total_tokens")
    given = _output(block, context, taken, total, "completion_tokens", "output_tokens")
    reasoning = _reasoning(block)
    # What Mistral's connectors read, as far as the total says that it is beside the prompt.
    connected = block.find("connector_tokens") or 0
    if connected and (total is None or total - taken - given in (connected, connected + reasoning)):
        taken += connected
    given, reasoning = _settled(
        taken, given, reasoning, total, context, beside=context.provider in BESIDE_OUTPUT, block=block
    )
    read, written = _inside(block)
    hit, miss = block.find("prompt_cache_hit_tokens"), block.find("prompt_cache_miss_tokens")
    if hit is not None and miss is not None and hit + miss != taken:
        raise off("prompt_cache_hit_tokens + prompt_cache_miss_tokens", hit + miss, "prompt_tokens", taken)
    return Counts(input=taken, output=given, cached_read=read, cached_write=written, reasoning=reasoning)


def messages(block: Block, context: Context) -> Counts:
    """input_tokens and output_tokens: of OpenAI's responses with the cached ones, of Anthropic and Bedrock without."""
    details = block.part(*INPUT_DETAILS)
    read = first_of((name, block.find(name)) for name in READ_BESIDE)
    created = block.part("cache_creation") if block_of(block.get("cache_creation")) else Block({})
    by_life = sum(created.find(name) or 0 for name in LIVES)
    written = first_of([*((name, block.find(name)) for name in WRITTEN_BESIDE), ("cache_creation", by_life)])
    says_beside = block.has(*READ_BESIDE, *WRITTEN_BESIDE) or by_life > 0
    says_inside = any(map(first_of, _in_details(details)))
    is_beside = says_beside or context.provider in BESIDE_INPUT
    if says_inside and (read or written):
        # Gateways that speak both ways at once.
        if not context.provider:
            raise UnreadableUsage(
                "ambiguous",
                gettext_noop(
                    "cached input is counted in two ways, inside input_tokens and beside them: pass provider="
                    "“anthropic” or “openai” to say which holds."
                ),
            )
        is_beside = context.provider in BESIDE_INPUT
    elif says_inside:
        is_beside = False
    taken = block.needed("input_tokens")
    total = block.find("total_tokens")
    given = _output(block, context, taken, total, "output_tokens")
    reasoning = _reasoning(block)
    if not is_beside:
        given, reasoning = _settled(taken, given, reasoning, total, context, beside=False, block=block)
        read, written = _inside(block)
        return Counts(input=taken, output=given, cached_read=read, cached_write=written, reasoning=reasoning)
    everything = taken + read + written
    if total is not None and total not in (taken + given, everything + given):
        raise off(name_of(block, "total_tokens"), total, "input_tokens + output_tokens", everything + given)
    compacted = _compacted(block)
    return Counts(
        input=everything + compacted.input,
        output=given + compacted.output,
        cached_read=read + compacted.cached_read,
        cached_write=written + compacted.cached_write,
        reasoning=reasoning,
    )


def _compacted(block: Block) -> Counts:
    """What Anthropic took to shorten the conversation: it stands in `iterations`, and not in the counts above them."""
    sums = [0, 0, 0, 0]
    listed = block.get("iterations")
    for each in listed if isinstance(listed, (list, tuple)) else ():
        part = block_of(each)
        if part is None or part.get("type") != "compaction":
            continue
        read, written = part.find(*READ_BESIDE) or 0, part.find(*WRITTEN_BESIDE) or 0
        found = (part.needed("input_tokens") + read + written, part.needed("output_tokens"), read, written)
        sums = [before + more for before, more in zip(sums, found, strict=True)]
    return Counts(input=sums[0], output=sums[1], cached_read=sums[2], cached_write=sums[3])


def _output(block: Block, context: Context, taken: int, total: int | None, *names: str) -> int:
    """An embedding has no output, and its answer either says so or holds no more than the input in its total."""
    found = block.find(*names)
    if found is None and (context.is_embedding or (total is not None and total == taken)):
        return 0
    return block.needed(*names)


def _reasoning(block: Block) -> int:
    details = block.part(*OUTPUT_DETAILS)
    inside = [(f"…{name_of(details, name)}", details.find(name)) for name in REASONING]
    beside = [(name_of(block, name), block.find(name)) for name in REASONING[:2]]
    return first_of([*inside, *beside])


def _inside(block: Block) -> tuple[int, int]:
    """How much of the input was cached, and how much is kept; said in the details or beside the counts."""
    read, written = _in_details(block.part(*INPUT_DETAILS))
    names = (*READ, "num_cached_tokens", "prompt_cache_hit_tokens", "cached_prompt_text_tokens", "cached_input_tokens")
    read += [(name_of(block, name), block.find(name)) for name in names]
    written += [(name_of(block, name), block.find(name)) for name in WRITTEN]
    return first_of(read), first_of(written)


def _in_details(details: Block) -> tuple[list[Said], list[Said]]:
    read = [(f"…{name_of(details, name)}", details.find(name)) for name in READ]
    written = [(f"…{name_of(details, name)}", details.find(name)) for name in WRITTEN]
    created = details.get("cache_creation")
    if created is not None and block_of(created) is None:
        written.append(("…cache_creation", details.find("cache_creation")))
    lives = [details.find(name) or 0 for name in LIVES]
    written.append((" + ".join(LIVES), sum(lives)))
    return read, written


def _settled(
    taken: int, given: int, reasoning: int, total: int | None, context: Context, *, beside: bool, block: Block
) -> tuple[int, int]:
    """All of the output and what of it was reasoning: the total tells whether one holds the other."""
    if total is None:
        if reasoning > given and not beside and not context.provider:
            raise UnreadableUsage(
                "ambiguous",
                gettext_noop(
                    "reasoning is %(count)s, more than the output, and there is no total: pass provider=“x-ai” if it is"
                    " counted beside the output."
                ),
                count=reasoning,
            )
        return (given + reasoning, reasoning) if beside else (given, reasoning)
    rest = total - taken - given
    if rest == 0:
        # Perplexity bills reasoning that neither the output nor the total holds.
        return (given + reasoning, reasoning) if reasoning > given and beside else (given, reasoning)
    if rest == reasoning:
        return given + reasoning, reasoning
    if rest > 0 and not reasoning and (context.provider == "google" or "gemini" in (context.model or "").lower()):
        return given + rest, rest
    raise off(name_of(block, "total_tokens"), total, "input + output", taken + given)
