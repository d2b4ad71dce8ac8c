/** What the demo has made and must unmake, newest first, whichever way it ends. */
export class Cleanup {
  private readonly undo: { what: string; run: () => Promise<unknown> }[] = [];

  add(what: string, run: () => Promise<unknown>): void {
    this.undo.push({ what, run });
  }

  /** Undoes everything; one failure does not keep the rest from being undone. Answers what could not be. */
  async run(): Promise<string[]> {
    const left: string[] = [];
    for (let entry = this.undo.pop(); entry !== undefined; entry = this.undo.pop()) {
      try {
        await entry.run();
      } catch (error) {
        left.push(`${entry.what}: ${(error as Error).message}`);
      }
    }
    return left;
  }
}
