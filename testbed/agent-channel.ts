import type { Socket } from 'node:net';
import {
  AgentReader,
  killRequest,
  poweroffRequest,
  runRequest,
  type AgentMessage,
} from './agent-protocol.js';
import { TestbedError, type ShellResult } from './errors.js';

interface Waiter<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

/** The host's end of the agent's socket: pairs answers with requests. Once failed, it stays so. */
export class AgentChannel {
  /** The guest's kernel release, once the agent runs. */
  readonly hello: Promise<string>;
  readonly #socket: Socket;
  readonly #reader = new AgentReader();
  readonly #waiting = new Map<number, Waiter<ShellResult>>();
  #helloWaiter!: Waiter<string>;
  #nextId: number;
  #failure: Error | undefined;

  /** `firstId` is other than 1 where the agent may have scripts of another channel's. */
  constructor(socket: Socket, firstId = 1) {
    this.#socket = socket;
    this.#nextId = firstId;
    this.hello = new Promise((resolve, reject) => (this.#helloWaiter = { resolve, reject }));
    this.hello.catch(() => undefined);
    socket.on('data', (chunk) => this.#receive(chunk));
    // A killed QEMU resets the connection: 'close' follows every 'error', and says all there is to say.
    socket.on('error', () => undefined);
    socket.on('close', () =>
      this.#fail(new TestbedError('GUEST_STOPPED', "the guest's agent closed its channel")),
    );
  }

  /** What the next script is called by. */
  get nextId(): number {
    return this.#nextId;
  }

  /** Starts a script. Scripts run side by side. @returns its id, and its result, which is rejected when the channel fails. */
  run(script: string): { id: number; result: Promise<ShellResult> } {
    const id = this.#nextId++;
    const result = new Promise<ShellResult>((resolve, reject) => {
      if (this.#failure) return reject(this.#failure);
      this.#waiting.set(id, { resolve, reject });
      this.#socket.write(runRequest(id, script));
    });
    return { id, result };
  }

  /** Kills a script with all that it started in its session, and forgets it. */
  abandon(id: number): void {
    if (this.#waiting.delete(id) && !this.#failure) this.#socket.write(killRequest(id));
  }

  /** Asks the guest to turn itself off. */
  poweroff(): void {
    if (!this.#failure) this.#socket.write(poweroffRequest);
  }

  /** Closes the channel; whoever waits is told `error`. */
  #fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    this.#socket.destroy();
    this.#helloWaiter.reject(error);
    for (const waiter of this.#waiting.values()) waiter.reject(error);
    this.#waiting.clear();
  }

  #receive(chunk: Buffer): void {
    try {
      for (const message of this.#reader.push(chunk)) this.#deliver(message);
    } catch (error) {
      this.#fail(new TestbedError('GUEST_PROTOCOL', (error as Error).message));
    }
  }

  #deliver(message: AgentMessage): void {
    if (message.verb === 'hello') return this.#helloWaiter.resolve(message.release);
    const { id, exitCode, stdout, stderr } = message;
    // An abandoned script's answer finds nobody waiting.
    this.#waiting.get(id)?.resolve({
      stdout: stdout.toString('utf8'),
      stderr: stderr.toString('utf8'),
      stdoutBytes: stdout,
      exitCode,
    });
    this.#waiting.delete(id);
  }
}
