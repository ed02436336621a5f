"""Names of providers. One that has several is stored under one: the one that genai-prices uses, too."""

from __future__ import annotations

ALIASES = {
    "anthropic": ("claude",),
    "aws": ("bedrock", "amazon", "amazonbedrock", "awsbedrock", "bedrockruntime", "bedrockconverse"),
    "azure": ("azureopenai", "azureai", "azureaiinference", "azurefoundry", "azureaifoundry", "microsoft"),
    "cohere": ("cohereai",),
    "deepseek": (),
    "fireworks": ("fireworksai",),
    "google": (
        "gemini",
        "vertex",
        "vertexai",
        "googlegemini",
        "googlevertex",
        "googlevertexai",
        "googlegenai",
        "googleai",
        "googleaistudio",
        "googlegenerativeai",
        "gcpvertexai",
        "gcpgemini",
    ),
    "groq": (),
    "mistral": ("mistralai",),
    "moonshotai": ("moonshot", "kimi"),
    "ollama": (),
    "openai": ("openairesponses", "openaichat"),
    "openrouter": (),
    "perplexity": ("perplexityai",),
    "together": ("togetherai",),
    "vllm": (),
    "voyageai": ("voyage",),
    "x-ai": ("xai", "grok"),
}
_CANONICAL = {
    "".join(filter(str.isalnum, name)): canonical
    for canonical, others in ALIASES.items()
    for name in (canonical, *others)
}


def provider_name(name: str) -> str:
    """The name under which it is stored: that of `ALIASES`, else the one given, in small letters."""
    given = name.strip().lower()
    return _CANONICAL.get("".join(filter(str.isalnum, given)), given)
