/** Tells the story of the demo on the terminal: headings, steps with their durations, tables. */
export class Narration {
  private readonly out: NodeJS.WritableStream;
  private readonly aborted: AbortSignal;

  constructor(out: NodeJS.WritableStream, aborted: AbortSignal) {
    this.out = out;
    this.aborted = aborted;
  }

  say(text: string): void {
    this.out.write(`${text}\n`);
  }

  heading(text: string): void {
    this.say(`\n${text}`);
  }

  /** Runs one step and prints what it came to, with the time it took. Stops the story here once it was interrupted. */
  async step<T>(title: string, work: () => Promise<T>, result: (value: T) => string = () => ''): Promise<T> {
    this.aborted.throwIfAborted();
    const started = performance.now();
    const value = await work();
    const text = result(value);
    this.say(
      `  ✓ ${title} (${formatDuration(performance.now() - started)})${text === '' ? '' : `: ${text}`}`,
    );
    return value;
  }

  /** One line that is rewritten while long work goes on; only where a person watches. */
  progress(text: string): void {
    const terminal = this.out as Partial<NodeJS.WriteStream>;
    if (terminal.isTTY) this.out.write(`\r\u001b[2K  … ${text}`);
    else this.say(`  … ${text}`);
  }

  endProgress(): void {
    if ((this.out as Partial<NodeJS.WriteStream>).isTTY) this.out.write('\r\u001b[2K');
  }
}

export function formatDuration(milliseconds: number): string {
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  return milliseconds < 10_000 ? `${milliseconds.toFixed(0)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
