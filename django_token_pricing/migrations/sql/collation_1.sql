ALTER TABLE django_token_pricing_subscriptionevent MODIFY external_ref varchar(150) COLLATE utf8mb4_nopad_bin NOT NULL;
ALTER TABLE django_token_pricing_paymentevent MODIFY external_ref varchar(150) COLLATE utf8mb4_nopad_bin NOT NULL;
ALTER TABLE django_token_pricing_subscriptionmirror MODIFY external_ref varchar(150) COLLATE utf8mb4_nopad_bin NOT NULL;
ALTER TABLE django_token_pricing_paymentmirror MODIFY external_ref varchar(150) COLLATE utf8mb4_nopad_bin NOT NULL;
ALTER TABLE django_token_pricing_paymentmirror MODIFY subscription_ref varchar(150) COLLATE utf8mb4_nopad_bin NOT NULL;
