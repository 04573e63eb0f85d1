"""The results as Markdown."""

from statistics import median

PEERS_F32 = ("onnxruntime-f32", "openvino-f32")


def table(header, rows):
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def markdown(result):
    parts = [heading(result)]
    result, registrations = split(result)
    threads = sorted({row["threads"] for net in result["nets"].values() for row in net["rows"]})
    for n in threads:
        parts += [times(result, n), ratios(result, n)]
    parts += [registration(result, registrations)]
    parts += [scaling(result, threads), agreement(result), configurations(result)]
    return "\n".join(part for part in parts if part)


def heading(result):
    ceilings = result["ceilings"]
    macs = [
        f"{name} {c['gmac_per_s']:.0f} GMAC/s ({c['instructions']})"
        for name, c in (("f32", ceilings["f32"]), ("int8", ceilings["int8"])) if c
    ]
    copies = [f"copying {size} {rate:.1f} GB/s" for size, rate in
              ceilings["copied_gb_per_s"].items()]
    return (
        f"{result['date']}, {result['cpu']}, {result['cores']} cores, load at the start "
        f"{result['load_before']:.1f}. {result['rounds']} interleaved rounds: "
        f"median (fastest) in ms.\n\nCeilings of one core: {', '.join(macs + copies)}.\n"
    )


def split(result):
    """The networks' rows, and those of whole registrations by the network they are beside."""
    nets, registrations = {}, {}
    for name, net in result["nets"].items():
        whole = [row for row in net["rows"] if "stages_ms" in row]
        nets[name] = net | {"rows": [row for row in net["rows"] if row not in whole]}
        if whole:
            registrations[name] = whole
    return result | {"nets": nets}, registrations


def registration(result, registrations):
    """Whole registrations, against one forward pass of onnxruntime in f32."""
    parts = []
    for name, whole in registrations.items():
        stages = [stage for stage in whole[0]["stages_ms"]
                  if any(row["stages_ms"][stage] for row in whole)]
        rows = []
        for row in whole:
            forward = cells(result["nets"][name], row["threads"]).get("onnxruntime-f32")
            ratio = f"{row['median_ms'] / forward['median_ms']:.2f}" if forward else ""
            rows.append([
                row["engine"], row["threads"], *(f"{row['stages_ms'][s]:.1f}" for s in stages),
                f"{row['median_ms']:.1f} ({row['min_ms']:.1f})", ratio,
                " / ".join(f"{peak:.0f}" for peak in row["peak_mib"])])
        header = ["engine", "threads", *stages, "all", "÷ one forward pass of onnxruntime-f32",
                  "peak MiB of `register`, without / with labels"]
        parts.append(f"### Affine and 3 cascades of {name}, ms\n\n" + table(header, rows))
    return "\n".join(parts)


def cells(net, threads):
    return {row["engine"]: row for row in net["rows"] if row["threads"] == threads}


def engines(result):
    return list(dict.fromkeys(
        row["engine"] for net in result["nets"].values() for row in net["rows"]))


def times(result, threads):
    names, rows = engines(result), []
    for name, net in result["nets"].items():
        row = cells(net, threads)
        values = [f"{row[e]['median_ms']:.1f} ({row[e]['min_ms']:.1f})" for e in names]
        rows.append([name, f"{net['gmac']:.2f}", *values])
    return f"### {threads} thread(s)\n\n" + table(["network", "GMAC", *names], rows)


def ratios(result, threads):
    """intraop against the fastest peer, and the share of the ceiling that it reaches."""
    rows = []
    for name, net in result["nets"].items():
        row = {engine: cell["median_ms"] for engine, cell in cells(net, threads).items()}
        peers = {engine: ms for engine, ms in row.items() if not engine.startswith("intraop")}
        f32 = {engine: ms for engine, ms in peers.items() if engine in PEERS_F32}
        line = [name]
        for engine, rivals in (("intraop-f32", f32), ("intraop-int8", peers)):
            if engine not in row or not rivals:
                line += ["", "", ""]
                continue
            rival = min(rivals, key=rivals.get)
            ceiling = result["ceilings"][engine.removeprefix("intraop-")]
            share = ""
            if ceiling:
                floor_ms = net["gmac"] / ceiling["gmac_per_s"] / threads * 1e3
                share = f"{floor_ms / row[engine]:.0%}"
            line += [f"{row[engine] / rivals[rival]:.2f}", rival, share]
        rows.append(line)
    if not any(any(line[1:]) for line in rows):
        return ""
    header = ["network", "f32 ÷ fastest f32 peer", "which", "of the f32 ceiling",
              "int8 ÷ fastest peer", "which", "of the int8 ceiling"]
    return table(header, rows)


def scaling(result, threads):
    """Speed-up by threads, and the time per voxel."""
    names, rows = engines(result), []
    if len(threads) < 2:
        return ""
    few, many = threads[0], threads[-1]
    for name, net in result["nets"].items():
        a, b = cells(net, few), cells(net, many)
        rows.append([name, *(f"{a[e]['median_ms'] / b[e]['median_ms']:.2f}" for e in names)])
    per_voxel = []
    for name, net in result["nets"].items():
        a = cells(net, few)
        per_voxel.append(
            [name, *(f"{a[e]['median_ms'] * 1e6 / net['voxels']:.1f}" for e in names)])
    return (
        f"### Speed-up from {few} to {many} threads\n\n" + table(["network", *names], rows)
        + f"\n### ns per voxel, {few} thread(s)\n\n" + table(["network", *names], per_voxel)
    )


def agrees(row):
    """Pipelines have no checks: they proved themselves before they began."""
    return all(found <= accepted for found, accepted in row.get("checks", {}).values())


def differences(row):
    return ", ".join(f"{found:.1e} from {what} (accepted: {accepted:.1e})"
                     for what, (found, accepted) in row["checks"].items())


def agreement(result):
    columns = [(engine, "f32") for engine in engines(result)]
    if any(engine == "intraop-int8" for engine, _ in columns):
        columns.append(("intraop-int8", "same file"))
    rows = []
    for name, net in result["nets"].items():
        line = [name]
        for engine, what in columns:
            same = [row for row in net["rows"] if row["engine"] == engine]
            found, accepted = max(row["checks"][what] for row in same)
            wrong = "" if found <= accepted else " WRONG"
            line.append(f"{found:.1e}" + (f" of {accepted:.1e}" if what != "f32" else "") + wrong)
        rows.append(line)
    title = (
        "### Agreement\n\nRMS of the difference ÷ RMS of what onnxruntime computes in f32. The last "
        "column: from what it computes from intraop's int8 file; 2 % is accepted or, if that is "
        "more, 1.5 times what onnxruntime itself makes of an input that is a millionth larger.\n\n"
    )
    header = [engine if what == "f32" else f"{engine}, {what}" for engine, what in columns]
    return title + table(["network", *header], rows)


def configurations(result):
    lines, net = ["### Configurations\n"], next(iter(result["nets"].values()))
    most = max((row["threads"] for row in net["rows"]), default=0)
    for row in cells(net, most).values():
        settings = ", ".join(f"{k} {v}" for k, v in row["configuration"].items())
        lines.append(f"- {row['engine']}, {row['threads']} thread(s): {settings}")
    return "\n".join(lines) + "\n"


def layers(net, engine, threads, runs):
    """Medians over the runs of a profile, which lists the same layers every time."""
    total = median(sum(layer[0] for layer in run) for run in runs)
    rows = []
    for same in zip(*runs):
        ms = median(layer[0] for layer in same)
        # OpenVINO does not say how many products a layer takes.
        _, kind, kernel, name, *macs = same[0]
        kernel += "".join(f", {count / ms / 1e6:.0f} GMAC/s" for count in macs if count)
        rows.append([name, kind, kernel, f"{ms:.3f}", f"{ms / total:.1%}"])
    title = f"### {net}, {engine}, {threads} thread(s): {total:.1f} ms\n\n"
    return title + table(["layer", "kind", "kernel", "ms", "share"], rows)
