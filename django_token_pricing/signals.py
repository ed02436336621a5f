"""Public signals, in the past tense. All are sent robustly and only after the transaction has committed.

tokens_granted(sender=TokenAllocation, result=Grant)
tokens_consumed(sender=TokenUsageLog, result=Consumption), by consume and by settle alike
tokens_held(sender=TokenHold, result=Held) and tokens_released(sender=TokenHold, result=Release)
tokens_refunded(sender=TokenUsageLog, result=Refund)
tokens_subtracted(sender=TokenAccount, result=Subtraction)
tokens_expired(sender=TokenAllocation, result=Expiry), one signal a batch
tokens_purchased(sender=Purchase, result=PurchaseResult), beside tokens_granted
job_waiting(sender=Job, job=its number): call jobs.work with it in a worker
subscriptions_synced and payments_synced(sender=the mirror's class, refs=[…]), one signal a batch
warnings_fired(sender=WarningRule, notifications=[rows]) and balance_low(sender=TokenAccount, accounts=[numbers]),
one signal a batch: what people are told of warnings, and who has little left, whether or not somebody is told

A replayed call sends nothing. Results are frozen and complete: a receiver needs to read nothing again.
"""

from django.dispatch import Signal

tokens_granted = Signal()
tokens_consumed = Signal()
tokens_held = Signal()
tokens_released = Signal()
tokens_refunded = Signal()
tokens_subtracted = Signal()
tokens_expired = Signal()
tokens_purchased = Signal()
job_waiting = Signal()
subscriptions_synced = Signal()
payments_synced = Signal()
warnings_fired = Signal()
balance_low = Signal()
