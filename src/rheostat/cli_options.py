"""The options of the command line, under the names that scripts rely on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model's name, such as smollm2, a .gguf file, or http://HOST/v1#NAME.",
    ),
]
PlanModels = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="A model, as for profile; or recordings of its samples, replay:STORE each.",
    ),
]
PlanName = Annotated[
    str, typer.Argument(metavar="PLAN", help="A plan's file, or base:MODEL for no methods.")
]
SomePrompt = Annotated[
    str | None,
    typer.Argument(metavar="[PROMPT]", help="The user's message; - reads standard input."),
]
Chat = Annotated[
    bool, typer.Option("--chat", help="Talk line by line; what was said stays in the cache.")
]
Heat = Annotated[
    bool, typer.Option("--heat", help="Colour every token by the computation that it took.")
]
Suite = Annotated[str, typer.Argument(metavar="SUITE", help="The benchmark to run.")]
Folders = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run folders.")]

Cited = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PLAN|METHOD...]", help="Plans' files and names of methods."),
]

Requests = Annotated[Path, typer.Option("--requests", help="JSONL file, a request a line.")]
Workload = Annotated[
    str,
    typer.Option("--workload", help="edit, copy, summarise, chat, prose, or a .jsonl file."),
]
PlanWorkload = Annotated[
    str | None,
    typer.Option(
        "--workload",
        help="Texts to plan on: edit, copy, summarise, chat, prose, or a .jsonl file.",
    ),
]
SomeWorkload = Annotated[
    str | None,
    typer.Option("--workload", help="Where to measure the copy rate. [default: all built in]"),
]
Acceptance = Annotated[
    bool, typer.Option("--acceptance", help="Also train the head of specdec_pp (minutes).")
]
OutFile = Annotated[Path, typer.Option("--out", help="The file to write.")]
OutFolder = Annotated[
    Path, typer.Option("--out", help="The folder to write; the same folder resumes.")
]

Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="float32, bfloat16, gguf, layercast or reproducible. "
        "[default: the plan's, else float32]",
    ),
]
Precisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="FORMAT",
        help="A number format that the plan may choose: gguf or bfloat16 (repeatable).",
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads of a pass. [default: all cores]")
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda or mps, of the torch engine. [default: cpu]"),
]
CudaGraphs = Annotated[
    bool, typer.Option("--cuda-graphs", help="Capture steps of one token a row; --device cuda.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")]
MaxNewTokens = Annotated[int, typer.Option("--max-new-tokens", help="Longest answer.")]
SomeNewTokens = Annotated[
    int | None,
    typer.Option("--max-new-tokens", help="Longest answer. [default: the recording's, 128]"),
]
Items = Annotated[
    int | None, typer.Option("--items", min=2, help="Items of each part to measure on.")
]
Temperature = Annotated[float, typer.Option("--temperature", max=1e6, help="0 = greedy.")]
TopK = Annotated[int, typer.Option("--top-k", help="Draw among the k likeliest; 0 = all.")]
TopP = Annotated[float, typer.Option("--top-p", help="Draw among the likeliest share; 1 = all.")]
MinP = Annotated[
    float, typer.Option("--min-p", help="Least share of the likeliest token's probability.")
]
RepetitionPenalty = Annotated[
    float, typer.Option("--repetition-penalty", help="Over 1 lowers repeated tokens.")
]
Stop = Annotated[
    list[str] | None, typer.Option("--stop", help="Text that ends an answer (repeatable).")
]
Constraint = Annotated[
    str | None,
    typer.Option(
        "--constraint",
        metavar="C",
        help="What the answer must be: regex:PATTERN, schema:FILE, grammar:FILE or FILE.py:FUNC.",
    ),
]
Particles = Annotated[
    int, typer.Option("--particles", help="Answers drawn together and weighed; 0 = one.")
]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="The plan to run.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="METHOD=DIAL", help="Set a method; =off removes it."),
]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="METHOD.FIELD=VALUE", help="Set a method's parameter."),
]
Batch = Annotated[int, typer.Option("--batch", help="Requests that run together.")]
Label = Annotated[
    str | None, typer.Option("--label", help="The run's name in reports. [default: the folder's]")
]
Shadow = Annotated[
    float | None,
    typer.Option("--shadow", metavar="R", help="Share that the base answers too, as a watch."),
]

Lossless = Annotated[bool, typer.Option("--lossless", help="Keep the answers as they are.")]
MaxLoss = Annotated[float | None, typer.Option("--max-loss", help="Largest mean loss.")]
Loss = Annotated[
    str | None,
    typer.Option(
        "--loss",
        help="Measure of --max-loss: disagree, score or nats; of samples wrong [default] or other.",
    ),
]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", help="Largest price, as a share of the base's.")
]
Confidence = Annotated[
    float | None,
    typer.Option("--confidence", help="Certify --max-loss on unseen items, such as 0.95."),
]

Raw = Annotated[bool, typer.Option("--raw", help="Leave out the chat template.")]
Json = Annotated[
    bool, typer.Option("--json", help="Last line of stdout is one JSON object, the rest stderr.")
]
Version = Annotated[bool, typer.Option("--version", help="Show the version and exit.")]
AcceptLicence = Annotated[
    str | None,
    typer.Option(
        "--accept-licence",
        metavar="NAME",
        help="Accept a model's licence, once: gemma for gemma3-270m.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Measure losses in parallel on the Ray cluster there; `local` starts one here.",
    ),
]
