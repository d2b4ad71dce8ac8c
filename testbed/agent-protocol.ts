/**
 * The words between the host and the agent in the guest (guest-init.ts). Lengths precede contents, so neither scripts nor
 * their output need escaping.
 *
 *     host → guest   run <id> <script length>\n<script>    kill <id>\n    poweroff\n
 *     guest → host   hello <kernel release>\n              done <id> <exit code> <out length> <err length>\n<out><err>
 */
export type AgentMessage =
  | { readonly verb: 'hello'; readonly release: string }
  | {
      readonly verb: 'done';
      readonly id: number;
      readonly exitCode: number;
      readonly stdout: Buffer;
      readonly stderr: Buffer;
    };

/** A header is short; a guest that sends no line end within this is not speaking the protocol. */
const maximumHeaderBytes = 256;
/** No guest here has more memory to keep output in; it also bounds what a broken guest makes us hold. */
const maximumOutputBytes = 512 * 1024 * 1024;

export function runRequest(id: number, script: string): Buffer {
  const body = Buffer.from(`${script}\n`);
  return Buffer.concat([Buffer.from(`run ${id} ${body.length}\n`), body]);
}

export function killRequest(id: number): string {
  return `kill ${id}\n`;
}

export const poweroffRequest = 'poweroff\n';

/** Cuts a stream of bytes, arriving in any pieces, into messages. */
export class AgentReader {
  #chunks: Buffer[] = [];
  #heldBytes = 0;
  /** How many bytes must be there before looking again is worth while. */
  #wantedBytes = 1;

  /** @throws SyntaxError where the guest does not speak the protocol. */
  push(chunk: Buffer): AgentMessage[] {
    this.#chunks.push(chunk);
    this.#heldBytes += chunk.length;
    const messages: AgentMessage[] = [];
    while (this.#heldBytes >= this.#wantedBytes) {
      const message = this.#take();
      if (message === undefined) break;
      messages.push(message);
    }
    return messages;
  }

  #take(): AgentMessage | undefined {
    const held = Buffer.concat(this.#chunks);
    this.#chunks = [held];
    const lineEnd = held.subarray(0, maximumHeaderBytes).indexOf('\n');
    if (lineEnd === -1) {
      if (held.length >= maximumHeaderBytes) throw new SyntaxError('the guest sent a header without an end');
      this.#wantedBytes = held.length + 1;
      return undefined;
    }
    const header = parseHeader(held.toString('latin1', 0, lineEnd));
    const start = lineEnd + 1;
    const end = start + header.outBytes + header.errBytes;
    this.#wantedBytes = end;
    if (held.length < end) return undefined;
    this.#keep(held.subarray(end));
    return header.message(
      held.subarray(start, start + header.outBytes),
      held.subarray(start + header.outBytes, end),
    );
  }

  #keep(rest: Buffer): void {
    this.#chunks = [rest];
    this.#heldBytes = rest.length;
    this.#wantedBytes = 1;
  }
}

interface Header {
  readonly outBytes: number;
  readonly errBytes: number;
  readonly message: (stdout: Buffer, stderr: Buffer) => AgentMessage;
}

function parseHeader(line: string): Header {
  const hello = /^hello (\S+)$/.exec(line);
  if (hello) {
    const message: AgentMessage = { verb: 'hello', release: hello[1] };
    return { outBytes: 0, errBytes: 0, message: () => message };
  }
  const done = /^done (\d{1,9}) (\d{1,3}) (\d{1,10}) (\d{1,10})$/.exec(line);
  if (!done) throw new SyntaxError(`the guest sent a header that is not one: ${JSON.stringify(line)}`);
  const [id, exitCode, outBytes, errBytes] = done.slice(1).map(Number) as [number, number, number, number];
  if (outBytes + errBytes > maximumOutputBytes) throw new SyntaxError('the guest announced too much output');
  return {
    outBytes,
    errBytes,
    message: (stdout, stderr) => ({ verb: 'done', id, exitCode, stdout, stderr }),
  };
}
