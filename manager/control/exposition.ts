/** Writes Prometheus's text format, version 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/). */

/** A metric family: its type, and what it counts. */
export interface Family {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
}

export interface HistogramSample {
  readonly ends: readonly number[];
  /** One more than `ends`: the last is of what is beyond them. */
  readonly counts: readonly number[];
  readonly sum: number;
}

/** What is undefined is left out. */
export type Labels = Readonly<Record<string, string | number | undefined>>;

/** Samples of the given families, in the order of those, whatever the order in which they come. */
export class Exposition<Name extends string> {
  private readonly families: Readonly<Record<Name, Family>>;
  private readonly samples = new Map<Name, string[]>();

  constructor(families: Readonly<Record<Name, Family>>) {
    this.families = families;
  }

  /** Without a value, there is no sample. */
  add(name: Name, labels: Labels, value: number | boolean | undefined): void {
    if (value === undefined) return;
    const lines = this.samples.get(name) ?? [];
    this.samples.set(name, lines);
    lines.push(`${name}${labelsText(labels)} ${Number(value)}`);
  }

  /** `ends` ascend, and `counts` are of each bucket alone; `sum` is of all. */
  addHistogram(name: Name, labels: Labels, { ends, counts, sum }: HistogramSample): void {
    const lines = this.samples.get(name) ?? [];
    this.samples.set(name, lines);
    let total = 0;
    for (const [i, le] of [...ends, '+Inf'].entries()) {
      total += counts[i] ?? 0;
      lines.push(`${name}_bucket${labelsText({ ...labels, le })} ${total}`);
    }
    lines.push(`${name}_sum${labelsText(labels)} ${sum}`, `${name}_count${labelsText(labels)} ${total}`);
  }

  /** Families without samples are left out. */
  text(): string {
    const lines: string[] = [];
    for (const [name, { type, help }] of Object.entries<Family>(this.families)) {
      const samples = this.samples.get(name as Name);
      if (samples) lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples);
    }
    return lines.map((line) => `${line}\n`).join('');
  }
}

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '"': '\\"', '\n': '\\n' };

function labelsText(labels: Labels): string {
  const pairs: string[] = [];
  for (const [label, value] of Object.entries(labels)) {
    if (value === undefined) continue;
    pairs.push(`${label}="${String(value).replace(/[\\"\n]/g, (character) => ESCAPES[character])}"`);
  }
  return pairs.length > 0 ? `{${pairs.join(',')}}` : '';
}
