"""What things cost: price_list reads pricing.yaml, pricing works out costs and ceilings, estimate bounds tokens.

facts is models.yaml; fact_choice and fact_rows make both files' rows of collected facts, and diff compares them.
"""
