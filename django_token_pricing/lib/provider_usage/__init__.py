"""What a provider says a request has used, in one shape whoever it was: plain Python, no request, no SDK needed.

`counts` takes the usage block, the whole answer, an object of an SDK, or a stream of chunks. The shape tells which
provider's rules hold (is cached input part of the input? is reasoning part of the output?); where it does not, a total
or the name of the provider does. What does not add up is refused, with the reason: a count is never guessed.
"""

from django_token_pricing.lib.provider_usage.errors import UnreadableUsage
from django_token_pricing.lib.provider_usage.providers import provider_name
from django_token_pricing.lib.provider_usage.reading import counts
from django_token_pricing.lib.provider_usage.results import Counts

__all__ = ["Counts", "UnreadableUsage", "counts", "provider_name"]
