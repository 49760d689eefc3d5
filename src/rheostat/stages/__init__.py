"""The stages of the data flow: profile, plan, run, report; each reads files of earlier ones."""
