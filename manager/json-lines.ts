/**
 * JSON values one a line: how QMP and the device process speak. Bytes come in any pieces; a line is bounded, so that a
 * peer that never ends one cannot fill our memory.
 */

/** The peer broke the format; the connection is of no use any more. */
export class JsonLinesError extends Error {
  override readonly name = 'JsonLinesError';
}

const NEWLINE = 0x0a;

export class JsonLineDecoder {
  private readonly maxLineBytes: number;
  private pieces: Buffer[] = [];
  private heldBytes = 0;

  constructor(maxLineBytes: number) {
    this.maxLineBytes = maxLineBytes;
  }

  /**
   * Takes the next bytes and hands each value that they complete to `onValue`. Blank lines are skipped.
   * @throws JsonLinesError at a line that is too long or no JSON
   */
  push(chunk: Buffer, onValue: (value: unknown) => void): void {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.hold(chunk.subarray(start, end));
      start = end + 1;
      const line = Buffer.concat(this.pieces).toString('utf8').trim();
      this.pieces = [];
      this.heldBytes = 0;
      if (line !== '') onValue(parseLine(line));
    }
    this.hold(chunk.subarray(start));
  }

  private hold(piece: Buffer): void {
    this.heldBytes += piece.length;
    if (this.heldBytes > this.maxLineBytes) {
      this.pieces = [];
      throw new JsonLinesError(`a line has more than ${this.maxLineBytes} bytes`);
    }
    if (piece.length > 0) this.pieces.push(piece);
  }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new JsonLinesError(`not JSON: ${line.slice(0, 80)}`);
  }
}
