/** How a client asks the daemon: JSON over HTTP on its unix socket, by the table of routes. */
import { request, type IncomingMessage } from 'node:http';
import { ChassisError, ErrorCode, type Event, type EventsQuery } from './api.js';
import { ROUTES, type AnswerOf, type Operation, type Parameters, type Route } from './routes.js';

/** Nobody answers at the socket. */
export class DaemonNotRunningError extends ChassisError {
  constructor(socketPath: string) {
    super('NO_DAEMON', `no daemon answers at ${socketPath}`, 'start one with: chassis serve');
  }
}

export class DaemonConnection {
  private readonly socketPath: string;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  /** The answer's lines, up to the last. */
  async *lines<K extends Operation>(
    operation: K,
    parameters: Parameters<K>,
    input: object,
    isLast: (line: AnswerOf<K>) => boolean,
  ): AsyncGenerator<AnswerOf<K>> {
    const answer = await this.begun(await this.send(operation, parameters, input));
    try {
      for await (const text of linesOf(answer)) {
        const line = parse(text) as object;
        if ('error' in line) throw refusal(500, line.error);
        yield line as AnswerOf<K>;
        if (isLast(line)) return;
      }
    } finally {
      answer.destroy();
    }
    throw wentAway();
  }

  /** `input` is its body, or where it takes none, its query. */
  async call<K extends Operation>(
    operation: K,
    parameters: Parameters<K>,
    input?: object,
  ): Promise<AnswerOf<K>> {
    const answer = await this.send(operation, parameters, input);
    const status = answer.statusCode ?? 500;
    const value = parse(await textOf(answer));
    if (status >= 400) throw refusal(status, value);
    return value as AnswerOf<K>;
  }

  /** As it is, of an answer that is no JSON. */
  async text<K extends Operation>(operation: K, parameters: Parameters<K>): Promise<string> {
    return textOf(await this.begun(await this.send(operation, parameters)));
  }

  /** Begun once this resolves. Whoever stops asking, or aborts, hears no more; it throws NO_DAEMON where the daemon ends. */
  async events(query: EventsQuery, signal?: AbortSignal): Promise<AsyncGenerator<Event>> {
    const answer = await this.begun(await this.send('events', {}, query));
    const stop = () => answer.destroy();
    signal?.addEventListener('abort', stop);
    answer.once('close', () => signal?.removeEventListener('abort', stop));
    if (signal?.aborted) stop();
    return this.told(answer, signal);
  }

  private async *told(answer: IncomingMessage, signal: AbortSignal | undefined): AsyncGenerator<Event> {
    try {
      for await (const line of linesOf(answer)) {
        if (line.startsWith(EVENT_DATA)) yield parse(line.slice(EVENT_DATA.length)) as Event;
      }
    } finally {
      answer.destroy();
    }
    if (!signal?.aborted) throw wentAway();
  }

  /** An answer that comes piece by piece, unless it is a refusal. */
  private async begun(answer: IncomingMessage): Promise<IncomingMessage> {
    const status = answer.statusCode ?? 500;
    if (status >= 400) throw refusal(status, parse(await textOf(answer)));
    return answer;
  }

  private send<K extends Operation>(
    operation: K,
    parameters: Parameters<K>,
    input?: object,
  ): Promise<IncomingMessage> {
    const { method, path: template, body, query }: Route = ROUTES[operation];
    const path = pathOf(template, parameters) + (query && input ? queryText(input) : '');
    const payload = body && JSON.stringify(input ?? {});
    return new Promise((resolve, reject) => {
      const headers = payload === undefined ? {} : { 'content-type': 'application/json' };
      // No agent: a connection kept alive would keep a command from ending.
      const outgoing = request({ socketPath: this.socketPath, method, path, headers, agent: false }, resolve);
      outgoing.on('error', (error: NodeJS.ErrnoException) => reject(this.connectionError(error)));
      outgoing.end(payload);
    });
  }

  private connectionError(error: NodeJS.ErrnoException): Error {
    if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')
      return new DaemonNotRunningError(this.socketPath);
    if (error.code === 'EACCES') {
      return new ChassisError(
        'STATE_UNWRITABLE',
        `may not open ${this.socketPath}`,
        'run as the user who started the daemon',
      );
    }
    return error.code === 'ECONNRESET' ? wentAway() : error;
  }
}

/** It was killed, which leaves what was asked for done or not. */
function wentAway(): ChassisError {
  return new ChassisError(
    'NO_DAEMON',
    'the daemon went away before it was done',
    'start it again (chassis serve), and see what came of it: chassis show',
  );
}

/** What an event's line of JSON begins with: https://html.spec.whatwg.org/multipage/server-sent-events.html */
const EVENT_DATA = 'data: ';

/** Whole lines, until the connection ends, however it does. */
async function* linesOf(answer: IncomingMessage): AsyncGenerator<string> {
  let rest = '';
  try {
    for await (const piece of answer.setEncoding('utf8')) {
      const lines = `${rest}${piece as string}`.split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
    }
  } catch {
    // The daemon was killed, or it was we who ended it: what was whole by then has been told.
  }
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  try {
    for await (const piece of answer) pieces.push(piece as Buffer);
  } catch {
    throw wentAway();
  }
  return Buffer.concat(pieces).toString('utf8');
}

function pathOf(template: string, parameters: Readonly<Record<string, string>>): string {
  return template.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(parameters[name]));
}

function queryText(options: object): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(options)) {
    if (value !== undefined) parameters.set(key, String(value));
  }
  return parameters.size > 0 ? `?${parameters.toString()}` : '';
}

function parse(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    throw new ChassisError('INTERNAL', 'the daemon did not answer with JSON');
  }
}

function refusal(status: number, value: unknown): ChassisError {
  const { code, message, suggestion } = (value ?? {}) as Record<string, unknown>;
  const known = typeof code === 'string' && Object.hasOwn(ErrorCode, code);
  return new ChassisError(
    known ? (code as ErrorCode) : 'INTERNAL',
    typeof message === 'string' ? message : `the daemon answered with status ${status}`,
    typeof suggestion === 'string' ? suggestion : undefined,
  );
}
