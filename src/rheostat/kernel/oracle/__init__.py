"""The best decisions in hindsight, from recorded tables: what no rule can beat."""
