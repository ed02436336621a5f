"""What providers answer, in the shapes of their references, becomes one shape; what does not add up is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from django_token_pricing.lib.provider_usage import Counts, UnreadableUsage, counts, provider_name

OPENAI_CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-5-mini",
    "choices": [{"message": {"role": "assistant", "content": "Hello"}}],
    "usage": {
        "prompt_tokens": 2006,
        "completion_tokens": 300,
        "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 128,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
}
OPENAI_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-5",
    "metadata": {},
    "output": [],
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 12},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 40},
        "total_tokens": 123,
    },
}
CLAUDE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Hi"}],
    "usage": {
        "input_tokens": 20,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 1000,
        "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
        "output_tokens": 50,
        "service_tier": "standard",
    },
}
GEMINI = {
    "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 100,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30,
        "toolUsePromptTokenCount": 7,
        "cachedContentTokenCount": 64,
        "totalTokenCount": 157,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],
    },
    "modelVersion": "gemini-2.5-flash",
}
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
    "stopReason": "end_turn",
    "usage": {
        "inputTokens": 9,
        "outputTokens": 40,
        "totalTokens": 1149,
        "cacheReadInputTokens": 1000,
        "cacheWriteInputTokens": 100,
    },
    "metrics": {"latencyMs": 900},
}
COHERE = {
    "id": "c1",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]},
    "usage": {
        "billed_units": {"input_tokens": 5.0, "output_tokens": 418.0},
        "tokens": {"input_tokens": 71.0, "output_tokens": 418.0},
    },
}

READABLE: dict[str, tuple[Any, str | None, Counts]] = {
    "OpenAI chat": (
        OPENAI_CHAT,
        "openai",
        Counts(input=2006, output=300, cached_read=1920, reasoning=128, model="gpt-5-mini"),
    ),
    "OpenAI chat, the block alone": (
        OPENAI_CHAT["usage"],
        None,
        Counts(input=2006, output=300, cached_read=1920, reasoning=128),
    ),
    "OpenAI chat, details null": (
        {
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "prompt_tokens_details": None,
            "completion_tokens_details": {"reasoning_tokens": None},
        },
        "azure",
        Counts(input=5, output=2),
    ),
    "OpenAI embeddings": (
        {
            "object": "list",
            "model": "text-embedding-3-small",
            "data": [{"object": "embedding", "embedding": [0.1]}],
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        },
        None,
        Counts(input=8, output=0, model="text-embedding-3-small"),
    ),
    "OpenAI response": (
        OPENAI_RESPONSE,
        None,
        Counts(input=36, output=87, cached_read=12, reasoning=40, model="gpt-5"),
    ),
    "a batch's line": (
        {"custom_id": "a", "response": {"status_code": 200, "body": OPENAI_CHAT}},
        None,
        Counts(input=2006, output=300, cached_read=1920, reasoning=128, model="gpt-5-mini"),
    ),
    "Groq": (
        {"x_groq": {"id": "r", "usage": {"queue_time": 0.1, "prompt_tokens": 4, "completion_tokens": 6}}},
        "groq",
        Counts(input=4, output=6),
    ),
    "DeepSeek": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 110,
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
            "prompt_tokens_details": {"cached_tokens": 64},
        },
        "deepseek",
        Counts(input=100, output=10, cached_read=64),
    ),
    "xAI, told by the total": (
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        None,
        Counts(input=32, output=103, reasoning=94),
    ),
    "xAI without a total": (
        {"prompt_tokens": 32, "completion_tokens": 200, "completion_tokens_details": {"reasoning_tokens": 94}},
        "grok",
        Counts(input=32, output=294, reasoning=94),
    ),
    "Gemini by OpenAI's API": (
        {"model": "gemini-2.5-pro", "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 530}},
        None,
        Counts(input=10, output=520, reasoning=500, model="gemini-2.5-pro"),
    ),
    "OpenRouter": (
        {
            "model": "anthropic/claude-sonnet-4.5",
            "usage": {
                "prompt_tokens": 194,
                "completion_tokens": 2,
                "total_tokens": 196,
                "cost": 0.95,
                "prompt_tokens_details": {"cached_tokens": 90, "cache_write_tokens": 100},
            },
        },
        "openrouter",
        Counts(input=194, output=2, cached_read=90, cached_write=100, model="anthropic/claude-sonnet-4.5"),
    ),
    "Moonshot": (
        {"prompt_tokens": 19, "completion_tokens": 21, "total_tokens": 40, "cached_tokens": 10},
        "kimi",
        Counts(input=19, output=21, cached_read=10),
    ),
    "Mistral": (
        {"model": "mistral-small-latest", "usage": {"prompt_tokens": 16, "completion_tokens": 34, "total_tokens": 50}},
        "mistral",
        Counts(input=16, output=34, model="mistral-small-latest"),
    ),
    "Anthropic": (
        CLAUDE,
        None,
        Counts(input=1120, output=50, cached_read=1000, cached_write=100, model="claude-sonnet-4-5"),
    ),
    "Mistral's connectors": (
        {"prompt_tokens": 188, "completion_tokens": 55, "total_tokens": 7355, "connector_tokens": 7112},
        "mistral",
        Counts(input=7300, output=55),
    ),
    "OpenAI realtime": (
        {
            "type": "response.done",
            "response": {
                "usage": {
                    "total_tokens": 253,
                    "input_tokens": 132,
                    "output_tokens": 121,
                    "input_token_details": {"text_tokens": 119, "audio_tokens": 13, "cached_tokens": 64},
                }
            },
        },
        None,
        Counts(input=132, output=121, cached_read=64),
    ),
    "Gemini, interactions": (
        {
            "usage": {
                "total_input_tokens": 7,
                "total_output_tokens": 23,
                "total_thought_tokens": 49,
                "total_cached_tokens": 2,
                "total_tokens": 79,
            }
        },
        None,
        Counts(input=7, output=72, cached_read=2, reasoning=49),
    ),
    "Bedrock's batch": (
        {"recordId": "1", "modelInput": {}, "modelOutput": CLAUDE},
        "aws",
        Counts(input=1120, output=50, cached_read=1000, cached_write=100, model="claude-sonnet-4-5"),
    ),
    "Anthropic, no cache": (
        {"input_tokens": 20, "output_tokens": 5, "cache_read_input_tokens": None, "cache_creation_input_tokens": None},
        "anthropic",
        Counts(input=20, output=5),
    ),
    "Anthropic, what it took to shorten": (
        {
            "input_tokens": 20,
            "output_tokens": 5,
            "iterations": [
                {"type": "compaction", "input_tokens": 1000, "output_tokens": 100},
                {"type": "message", "input_tokens": 20, "output_tokens": 5},
            ],
        },
        "anthropic",
        Counts(input=1020, output=105),
    ),
    "Anthropic's batch": (
        {"custom_id": "a", "result": {"type": "succeeded", "message": CLAUDE}},
        None,
        Counts(input=1120, output=50, cached_read=1000, cached_write=100, model="claude-sonnet-4-5"),
    ),
    "Gemini": (
        GEMINI,
        None,
        Counts(input=107, output=50, cached_read=64, reasoning=30, model="gemini-2.5-flash"),
    ),
    "Gemini, snake case": (
        {"usage_metadata": {"prompt_token_count": 100, "candidates_token_count": 20, "total_token_count": 120}},
        "vertex",
        Counts(input=100, output=20),
    ),
    "Gemini, refused prompt": (
        {"promptTokenCount": 8, "totalTokenCount": 8},
        "google",
        Counts(input=8, output=0),
    ),
    "Gemini, thoughts among the candidates": (
        {"promptTokenCount": 10, "candidatesTokenCount": 50, "thoughtsTokenCount": 30, "totalTokenCount": 60},
        "google",
        Counts(input=10, output=50, reasoning=30),
    ),
    "Bedrock Converse": (CONVERSE, "bedrock", Counts(input=1109, output=40, cached_read=1000, cached_write=100)),
    "Bedrock, the total without the cache": (
        {"inputTokens": 9, "outputTokens": 40, "totalTokens": 49, "cacheReadInputTokens": 1000},
        None,
        Counts(input=1009, output=40, cached_read=1000),
    ),
    "Bedrock, metrics": (
        {
            "completion": "x",
            "amazon-bedrock-invocationMetrics": {
                "inputTokenCount": 12,
                "outputTokenCount": 30,
                "cacheReadInputTokenCount": 4,
            },
        },
        "aws",
        Counts(input=16, output=30, cached_read=4),
    ),
    "Bedrock, headers": (
        {
            "ResponseMetadata": {
                "HTTPStatusCode": 200,
                "HTTPHeaders": {
                    "x-amzn-bedrock-input-token-count": "25",
                    "x-amzn-bedrock-output-token-count": "40",
                },
            },
            "body": object(),
        },
        "bedrock",
        Counts(input=25, output=40),
    ),
    "Bedrock, Claude's own body": (
        {"body": json.dumps(CLAUDE).encode()},
        "aws",
        Counts(input=1120, output=50, cached_read=1000, cached_write=100, model="claude-sonnet-4-5"),
    ),
    "Bedrock, Llama": (
        {"generation": "x", "prompt_token_count": 5, "generation_token_count": 9},
        "aws",
        Counts(input=5, output=9),
    ),
    "Bedrock, Titan": (
        {"inputTextTokenCount": 5, "results": [{"tokenCount": 3, "outputText": "x"}]},
        "aws",
        Counts(input=5, output=3),
    ),
    "Bedrock, Titan embeddings": (
        {"embedding": [0.1], "inputTextTokenCount": 5},
        "aws",
        Counts(input=5, output=0),
    ),
    "Cohere v2": (COHERE, "cohere", Counts(input=5, output=418)),
    "Cohere v2, cached": (
        {
            "billed_units": {"input_tokens": 70, "output_tokens": 4},
            "tokens": {"input_tokens": 571, "output_tokens": 4},
            "cached_tokens": 64,
        },
        None,
        Counts(input=70, output=4, cached_read=64),
    ),
    "Cohere v1": (
        {"text": "Hi", "meta": {"billed_units": {"input_tokens": 3, "output_tokens": 4}}},
        None,
        Counts(input=3, output=4),
    ),
    "Cohere embeddings": (
        {"embeddings": {"float": [[0.1]]}, "meta": {"billed_units": {"input_tokens": 9}}},
        None,
        Counts(input=9, output=0),
    ),
    "Voyage": ({"total_tokens": 10}, "voyage", Counts(input=10, output=0)),
    "Ollama": (
        {"model": "llama3", "done": True, "prompt_eval_count": 26, "eval_count": 290},
        None,
        Counts(input=26, output=290, model="llama3"),
    ),
    "LangChain": (
        {
            "input_tokens": 350,
            "output_tokens": 240,
            "total_tokens": 590,
            "input_token_details": {"cache_creation": 200, "cache_read": 100},
            "output_token_details": {"reasoning": 200},
        },
        "anthropic",
        Counts(input=350, output=240, cached_read=100, cached_write=200, reasoning=200),
    ),
    "Vercel's SDK": (
        {"inputTokens": 35, "outputTokens": 24, "totalTokens": 59, "cachedInputTokens": 10, "reasoningTokens": 20},
        None,
        Counts(input=35, output=24, cached_read=10, reasoning=20),
    ),
    "LiteLLM on Anthropic": (
        {
            "prompt_tokens": 1120,
            "completion_tokens": 50,
            "total_tokens": 1170,
            "prompt_tokens_details": {"cached_tokens": 1000, "cache_creation_tokens": 100},
            "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 1000,
        },
        "anthropic",
        Counts(input=1120, output=50, cached_read=1000, cached_write=100),
    ),
    "numbers that decode as Decimal": (
        {"prompt_tokens": Decimal(5), "completion_tokens": Decimal("2.0")},
        None,
        Counts(input=5, output=2),
    ),
}


@pytest.mark.parametrize("case", READABLE)
def test_an_answer_is_counted_as_its_provider_counts(case: str) -> None:
    payload, provider, expected = READABLE[case]
    assert counts(payload, provider) == expected


@pytest.mark.parametrize("case", READABLE)
def test_an_object_of_an_sdk_counts_like_its_json(case: str) -> None:
    payload, provider, expected = READABLE[case]
    if "headers" in case or "metrics" in case:
        pytest.skip("these are dicts in the SDK, too")
    assert counts(as_object(payload), provider) == expected


def as_object(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(each) for name, each in value.items()})
    return [as_object(each) for each in value] if isinstance(value, list) else value


def test_an_object_that_can_only_be_dumped_is_dumped() -> None:
    class Answer:
        def model_dump(self) -> dict[str, Any]:
            return OPENAI_CHAT

    assert counts(Answer()).input == 2006


def test_something_like_a_dict_is_read_like_one() -> None:
    class Row:
        def keys(self) -> Iterator[str]:
            return iter(OPENAI_CHAT)

        def __getitem__(self, name: str) -> Any:
            return OPENAI_CHAT[name]

    assert counts(Row()).output == 300


def test_a_model_of_pydantic_is_read_with_what_it_has_beyond_its_fields() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Usage(pydantic.BaseModel, extra="allow"):  # type: ignore[name-defined, misc, call-arg]
        prompt_tokens: int
        completion_tokens: int

    class Answer(pydantic.BaseModel, extra="allow"):  # type: ignore[name-defined, misc, call-arg]
        model: str
        usage: Usage | None = None

    usage = Usage(prompt_tokens=5, completion_tokens=2, prompt_cache_hit_tokens=4, prompt_cache_miss_tokens=1)
    expected = Counts(input=5, output=2, cached_read=4, model="deepseek-chat")
    assert counts(Answer(model="deepseek-chat", usage=usage)) == expected
    assert counts([Answer(model="deepseek-chat"), Answer(model="deepseek-chat", usage=usage)]) == expected


def test_messages_that_say_0_for_what_is_not_there_end_no_stream() -> None:
    empty = SimpleNamespace(prompt_token_count=0, candidates_token_count=0, total_token_count=0)
    full = SimpleNamespace(prompt_token_count=5, candidates_token_count=2, total_token_count=7)
    stream = [SimpleNamespace(usage_metadata=usage) for usage in (empty, full, empty)]
    assert counts(stream) == Counts(input=5, output=2)


def test_a_dataclass_is_read_by_its_fields() -> None:
    @dataclass
    class Usage:
        input_tokens: int
        output_tokens: int

    assert counts(Usage(3, 4)) == Counts(input=3, output=4)


# Streams --------------------------------------------------------------------------------------------------------------

CHAT_CHUNKS = [
    {"id": "c", "object": "chat.completion.chunk", "model": "gpt-5", "choices": [{"delta": {}}], "usage": None},
    {
        "id": "c",
        "object": "chat.completion.chunk",
        "model": "gpt-5",
        "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    },
]
CLAUDE_EVENTS = [
    {
        "type": "message_start",
        "message": {
            "id": "m",
            "model": "claude-sonnet-4-5",
            "usage": {"input_tokens": 25, "cache_read_input_tokens": 10, "output_tokens": 1},
        },
    },
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}},
    {"type": "message_stop"},
]
CLAUDE_STREAMED = Counts(input=35, output=15, cached_read=10, model="claude-sonnet-4-5")


def sse(events: list[dict[str, Any]]) -> str:
    return "".join(f"event: {event.get('type', 'x')}\ndata: {json.dumps(event)}\n\n" for event in events)


def packed(event: dict[str, Any]) -> dict[str, Any]:
    return {"chunk": {"bytes": json.dumps(event).encode()}}


STREAMS: dict[str, tuple[Any, Counts]] = {
    "chat": (CHAT_CHUNKS, Counts(input=3, output=4, model="gpt-5")),
    "chat as sent": (sse(CHAT_CHUNKS) + "data: [DONE]\n\n", Counts(input=3, output=4, model="gpt-5")),
    "chat, usage so far in each chunk": (
        [{"usage": {"prompt_tokens": 3, "completion_tokens": number}} for number in (1, 2, 9)][2:],
        Counts(input=3, output=9),
    ),
    "Groq": (
        [
            {"model": "llama", "choices": [], "x_groq": {"id": "r"}},
            {"choices": [], "x_groq": {"id": "r", "usage": {"prompt_tokens": 4, "completion_tokens": 6}}},
        ],
        Counts(input=4, output=6, model="llama"),
    ),
    "Mistral's events": (
        [
            {"data": {"model": "mistral-small", "choices": []}},
            {"data": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}},
        ],
        Counts(input=1, output=2, model="mistral-small"),
    ),
    "responses": (
        [
            {"type": "response.created", "response": {"id": "r", "model": "gpt-5", "usage": None}},
            {"type": "response.output_text.delta", "delta": "Hi"},
            {"type": "response.completed", "response": OPENAI_RESPONSE},
        ],
        Counts(input=36, output=87, cached_read=12, reasoning=40, model="gpt-5"),
    ),
    "Anthropic": (CLAUDE_EVENTS, CLAUDE_STREAMED),
    "Anthropic as sent": (sse(CLAUDE_EVENTS), CLAUDE_STREAMED),
    "Anthropic, input in the last event": (
        [
            {"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}}},
            {"type": "message_delta", "usage": {"input_tokens": 30, "output_tokens": 12}},
        ],
        Counts(input=30, output=12),
    ),
    "Bedrock Converse": (
        {
            "ResponseMetadata": {},
            "stream": iter(
                [
                    {"messageStart": {"role": "assistant"}},
                    {"contentBlockDelta": {"delta": {"text": "Hi"}}},
                    {"messageStop": {"stopReason": "end_turn"}},
                    {"metadata": {"usage": CONVERSE["usage"], "metrics": {"latencyMs": 1}}},
                ]
            ),
        },
        Counts(input=1109, output=40, cached_read=1000, cached_write=100),
    ),
    "Bedrock, Claude's events": (
        [
            packed(event)
            for event in [
                *CLAUDE_EVENTS[:-1],
                {
                    "type": "message_stop",
                    "amazon-bedrock-invocationMetrics": {"inputTokenCount": 25, "outputTokenCount": 15},
                },
            ]
        ],
        CLAUDE_STREAMED,
    ),
    "Bedrock, Llama": (
        [
            packed({"generation": "H", "prompt_token_count": 5, "generation_token_count": 1}),
            packed({"generation": "i", "prompt_token_count": None, "generation_token_count": 2}),
            packed(
                {
                    "generation": "",
                    "prompt_token_count": None,
                    "generation_token_count": 3,
                    "amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 3},
                }
            ),
        ],
        Counts(input=5, output=3),
    ),
    "Gemini": (
        [
            {"modelVersion": "gemini-2.5-flash", "usageMetadata": {"promptTokenCount": 10, "totalTokenCount": 10}},
            {
                "usageMetadata": {
                    "promptTokenCount": 10,
                    "candidatesTokenCount": 3,
                    "thoughtsTokenCount": 5,
                    "totalTokenCount": 18,
                },
            },
            {
                "usageMetadata": {
                    "promptTokenCount": 10,
                    "candidatesTokenCount": 9,
                    "thoughtsTokenCount": 5,
                    "totalTokenCount": 24,
                },
            },
        ],
        Counts(input=10, output=14, reasoning=5, model="gemini-2.5-flash"),
    ),
    "Cohere v2": (
        [
            {"type": "message-start", "id": "x", "delta": {"message": {"role": "assistant"}}},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": COHERE["usage"]}},
        ],
        Counts(input=5, output=418),
    ),
    "Cohere v1": (
        [
            {"event_type": "text-generation", "text": "Hi"},
            {
                "event_type": "stream-end",
                "response": {"meta": {"billed_units": {"input_tokens": 3, "output_tokens": 4}}},
            },
        ],
        Counts(input=3, output=4),
    ),
    "one answer in a list": ([OPENAI_CHAT], READABLE["OpenAI chat"][2]),
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_is_counted_by_its_last_word(case: str) -> None:
    payload, expected = STREAMS[case]
    assert counts(payload) == expected


def test_a_generator_of_objects_is_read_once() -> None:
    assert counts(as_object(event) for event in CLAUDE_EVENTS) == CLAUDE_STREAMED


def test_a_body_may_come_in_pieces_that_are_cut_anywhere() -> None:
    body = sse(CHAT_CHUNKS).encode()
    assert counts([body[place : place + 7] for place in range(0, len(body), 7)]).total == 7


def test_a_body_may_come_in_lines() -> None:
    assert counts(sse(CLAUDE_EVENTS).splitlines()) == CLAUDE_STREAMED


# What is refused ------------------------------------------------------------------------------------------------------

UNREADABLE: dict[str, tuple[Any, str]] = {
    "nothing": (None, "not_usage"),
    "a number": (5, "not_usage"),
    "an empty object": ({}, "nowhere"),
    "an answer without usage": ({"choices": [], "usage": None}, "nowhere"),
    "usage that is a list": ({"usage": [1]}, "not_an_object"),
    "usage that is a number": ({"usage": 7}, "not_an_object"),
    "unknown counts": ({"usage": {"foo": 1}}, "unknown"),
    "text": ("hello", "not_json"),
    "missing output": ({"prompt_tokens": 5}, "missing"),
    "missing input": ({"completion_tokens": 5}, "missing"),
    "null input": ({"prompt_tokens": None, "completion_tokens": 5}, "null"),
    "null output of Anthropic": ({"input_tokens": 5, "output_tokens": None}, "null"),
    "negative": ({"prompt_tokens": -1, "completion_tokens": 5}, "negative"),
    "negative detail": (
        {"prompt_tokens": 1, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": -1}},
        "negative",
    ),
    "a fraction": ({"input_tokens": 5.5, "output_tokens": 5}, "not_whole"),
    "not a number": ({"input_tokens": float("nan"), "output_tokens": 5}, "not_whole"),
    "without end": ({"input_tokens": float("inf"), "output_tokens": 5}, "not_whole"),
    "a boolean": ({"prompt_tokens": True, "completion_tokens": 5}, "not_whole"),
    "text for a number": ({"prompt_tokens": "5", "completion_tokens": 5}, "not_whole"),
    "a nested count": ({"prompt_tokens": {"value": 5}, "completion_tokens": 5}, "not_whole"),
    "a list of counts": ({"prompt_tokens": [5], "completion_tokens": 5}, "not_whole"),
    "details that are a number": (
        {"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": 4},
        "not_an_object",
    ),
    "gigantic": ({"prompt_tokens": 10**30, "completion_tokens": 5}, "too_large"),
    "-1 read as unsigned": ({"prompt_tokens": 2**64 - 1, "completion_tokens": 5}, "too_large"),
    "gigantic and negative": ({"prompt_tokens": -(10**5000), "completion_tokens": 5}, "negative"),
    "cached above input": (
        {"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}},
        "above",
    ),
    "cached above input, Gemini": (
        {"promptTokenCount": 5, "candidatesTokenCount": 1, "cachedContentTokenCount": 6, "totalTokenCount": 6},
        "above",
    ),
    "cached above all input, Cohere": (
        {"billed_units": {"input_tokens": 5, "output_tokens": 4}, "cached_tokens": 64},
        "above",
    ),
    "reasoning above output": (
        {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10, "output_tokens_details": {"reasoning_tokens": 6}},
        "above",
    ),
    "reasoning above output, no total": (
        {"prompt_tokens": 5, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 6}},
        "ambiguous",
    ),
    "a total that is another": ({"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 500}, "does_not_add_up"),
    "a total that is less": ({"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 9}, "does_not_add_up"),
    "Gemini's total is another": (
        {"promptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 900},
        "does_not_add_up",
    ),
    "hits and misses are not the prompt": (
        {
            "prompt_tokens": 5,
            "completion_tokens": 5,
            "prompt_cache_hit_tokens": 1,
            "prompt_cache_miss_tokens": 1,
        },
        "does_not_add_up",
    ),
    "one count said in two ways": (
        {
            "prompt_tokens": 50,
            "completion_tokens": 5,
            "prompt_cache_hit_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 20},
        },
        "contradiction",
    ),
    "cached in two ways": (
        {
            "input_tokens": 50,
            "output_tokens": 5,
            "cache_read_input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 10},
        },
        "ambiguous",
    ),
    "an empty stream": ([], "empty"),
    "a stream without usage": (CHAT_CHUNKS[:1], "no_usage_in_stream"),
    "a stream that broke off": (CLAUDE_EVENTS[:2], "unfinished"),
    "two answers": ([OPENAI_CHAT, OPENAI_CHAT], "several"),
    "two answers of Bedrock": ([CONVERSE, CONVERSE], "several"),
    "two lines of a batch": (
        [{"custom_id": name, "result": {"message": CLAUDE}} for name in ("a", "b")],
        "several",
    ),
    "two streams": ([*CLAUDE_EVENTS, *CLAUDE_EVENTS], "several"),
    "a total alone": ({"total_tokens": 10}, "missing"),
    "a header that is no number": (
        {"headers": {"x-amzn-bedrock-input-token-count": "1e3", "x-amzn-bedrock-output-token-count": "1"}},
        "not_whole",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_does_not_add_up_is_refused_with_its_reason(case: str) -> None:
    payload, code = UNREADABLE[case]
    with pytest.raises(UnreadableUsage) as caught:
        counts(payload)
    assert caught.value.code == code
    assert str(caught.value)


def test_the_provider_says_which_of_two_ways_holds() -> None:
    usage = UNREADABLE["cached in two ways"][0]
    assert counts(usage, "anthropic") == Counts(input=60, output=5, cached_read=10)
    assert counts(usage, "openai") == Counts(input=50, output=5, cached_read=10)


def test_an_object_that_holds_itself_comes_to_an_end() -> None:
    loop: dict[str, Any] = {}
    loop.update(dict.fromkeys(("meta", "response", "message", "delta", "data", "result", "body", "metadata"), loop))
    with pytest.raises(UnreadableUsage):
        counts(loop)


def test_an_asynchronous_stream_has_to_be_collected() -> None:
    class Stream:
        def __aiter__(self) -> Any:
            raise AssertionError

    with pytest.raises(UnreadableUsage) as caught:
        counts(Stream())
    assert caught.value.code == "async"


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("OpenAI", "openai"),
        ("Azure_OpenAI", "azure"),
        ("vertex-ai", "google"),
        ("Gemini", "google"),
        ("amazon.bedrock", "aws"),
        ("xAI", "x-ai"),
        ("mistralai", "mistral"),
        (" Acme ", "acme"),
    ],
)
def test_a_provider_is_stored_under_one_name(given: str, stored: str) -> None:
    assert provider_name(given) == stored


# Whatever comes -------------------------------------------------------------------------------------------------------

NAMES = [
    "usage",
    "usageMetadata",
    "x_groq",
    "meta",
    "message",
    "response",
    "delta",
    "metadata",
    "data",
    "body",
    "chunk",
    "bytes",
    "stream",
    "type",
    "model",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "input_tokens",
    "output_tokens",
    "prompt_tokens_details",
    "input_tokens_details",
    "completion_tokens_details",
    "cached_tokens",
    "cache_read_input_tokens",
    "reasoning_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
    "ephemeral_5m_input_tokens",
    "promptTokenCount",
    "totalTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "billed_units",
    "tokens",
    "inputTokenCount",
    "generation_token_count",
    "iterations",
    "embedding",
    "results",
    "custom_id",
    "amazon-bedrock-invocationMetrics",
]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 50),
    st.sampled_from([10**30, -(10**30), "5", "message_start", "message_delta", b"{}", "data: {", {}, [], [None]]),
    st.floats(),
    st.text(max_size=3),
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=6) | st.lists(inner, max_size=4),
    max_leaves=25,
)


@given(payload=ANYTHING, provider=st.sampled_from([None, "openai", "anthropic", "google", "aws", "cohere", "x-ai"]))
@example(payload={"usage": {"prompt_tokens": 10**5000, "completion_tokens": 1}}, provider=None)
@example(payload={1: 2, None: 3, ("a",): 4}, provider=None)
def test_whatever_comes_is_counted_soundly_or_refused(payload: Any, provider: str | None) -> None:
    try:
        found = counts(payload, provider)
    except UnreadableUsage as error:
        assert str(error)
        return
    assert all(type(value) is int for value in (found.input, found.output, found.cached_read, found.reasoning))
    assert 0 <= found.cached_read + found.cached_write <= found.input
    assert 0 <= found.reasoning <= found.output
    assert found.model is None or isinstance(found.model, str)
