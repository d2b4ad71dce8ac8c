/** The daemon's API as an HTTP server on a unix socket that only its owner may open. */
import { chmodSync, rmSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import type { Log } from '../logging/log.js';
import { ChassisError, ErrorCode, type ErrorBody, type Event } from './api.js';
import { HANDLERS, type Call } from './handlers.js';
import { EVENT_STREAM, JSON_LINES, ROUTES, type Operation, type Route } from './routes.js';
import type { ChassisService } from './service.js';

export interface ControlServerOptions {
  readonly socketPath: string;
  readonly service: ChassisService;
  /** Takes requests; and what went wrong on our side, of which the client hears only that it did. */
  readonly log: Log;
}

/** Far above any request: eight mounts of 4 KiB paths. */
const BODY_LIMIT_BYTES = 256 * 1024;
const IDLE_LOOK_MS = 10;
/** For the last of what happened. */
const FOLLOWERS_GRACE_MS = 500;

export class ControlServer {
  private readonly app: FastifyInstance;
  private readonly options: ControlServerOptions;
  /** Of each request that is not answered yet: what fails it. */
  private readonly unanswered = new Set<(error: ChassisError) => void>();
  /** Of those that follow what happens. */
  private readonly following = new Set<ServerResponse>();

  constructor(options: ControlServerOptions) {
    this.options = options;
    this.app = fastify({
      bodyLimit: BODY_LIMIT_BYTES,
      forceCloseConnections: 'idle',
      routerOptions: { maxParamLength: 65_536 },
    });
    this.app.addHook('onRoute', (route) => {
      const { handler } = route;
      route.handler = (request, reply) =>
        this.interruptible(async () => handler.call(this.app, request, reply));
    });
    this.app.addHook('onResponse', (request, reply, done) => {
      const facts = { status: reply.statusCode, ms: Math.round(reply.elapsedTime) };
      this.options.log.with({ request: facts }).debug(`${request.method} ${request.url}`);
      done();
    });
    this.app.setErrorHandler((error, _request, reply) => this.answerError(error, reply));
    this.app.setNotFoundHandler((request, reply) => {
      this.answerError(
        new ChassisError('BAD_REQUEST', `no such route: ${request.method} ${request.url}`),
        reply,
      );
    });
    for (const operation of Object.keys(ROUTES) as Operation[]) this.addRoute(operation);
  }

  /** Listens. The caller holds the directory's lock, so a socket that is there already is a leftover. */
  async start(): Promise<void> {
    const { socketPath } = this.options;
    rmSync(socketPath, { force: true });
    // The directory is private (0700), so nobody else comes in between the two.
    await this.app.listen({ path: socketPath });
    chmodSync(socketPath, 0o600);
  }

  /** Resolves once every request so far is answered, or after that time. */
  async idle(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (this.unanswered.size > 0 && performance.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, IDLE_LOOK_MS));
  }

  /** Answers everything that waits with this error. */
  interrupt(error: ChassisError): void {
    for (const fail of this.unanswered) fail(error);
  }

  /** Lets requests under way be answered, then closes and removes the socket. Whoever does not read what happened is left behind. */
  async stop(): Promise<void> {
    const closed = this.app.close();
    const timer = setTimeout(() => this.following.forEach((each) => each.destroy()), FOLLOWERS_GRACE_MS);
    await closed;
    clearTimeout(timer);
    rmSync(this.options.socketPath, { force: true });
  }

  private async interruptible(answer: () => Promise<unknown>): Promise<unknown> {
    let fail: (error: ChassisError) => void = () => undefined;
    const interrupted = new Promise<never>((_, reject) => (fail = reject));
    this.unanswered.add(fail);
    try {
      return await Promise.race([answer(), interrupted]);
    } finally {
      this.unanswered.delete(fail);
    }
  }

  private addRoute(operation: Operation): void {
    const route: Route = ROUTES[operation];
    // Which types its requests have is the table's to say; here they are checked.
    const handle = HANDLERS[operation] as (service: ChassisService, call: Call<never>) => unknown;
    this.app.route({
      method: route.method,
      url: route.path.replaceAll(/\{(\w+)\}/g, ':$1'),
      handler: (request, reply) => {
        const answer = handle(this.options.service, callOf(route, request, reply));
        if (route.type === JSON_LINES) return this.sendLines(answer as AsyncGenerator, reply);
        if (route.type === EVENT_STREAM) return this.sendEvents(answer as AsyncGenerator<Event>, reply);
        if (route.type !== undefined) reply.type(route.type);
        return answer;
      },
    });
  }

  private sendEvents(events: AsyncGenerator<Event>, reply: FastifyReply): FastifyReply {
    this.following.add(reply.raw);
    reply.raw.once('close', () => this.following.delete(reply.raw));
    return reply
      .type(EVENT_STREAM)
      .header('cache-control', 'no-store')
      .send(Readable.from(eventTexts(events)));
  }

  private async sendLines(answers: AsyncGenerator, reply: FastifyReply): Promise<FastifyReply> {
    // What is wrong from the start is an answer like others.
    const first = await answers.next();
    return reply.type(JSON_LINES).send(Readable.from(this.lines(first, answers)));
  }

  private async *lines(
    first: IteratorResult<unknown, unknown>,
    answers: AsyncGenerator,
  ): AsyncGenerator<string> {
    try {
      if (!first.done) yield `${JSON.stringify(first.value)}\n`;
      for await (const answer of answers) yield `${JSON.stringify(answer)}\n`;
    } catch (error) {
      yield `${JSON.stringify({ error: this.bodyOf(error).body })}\n`;
    } finally {
      await answers.return(undefined);
    }
  }

  private answerError(error: unknown, reply: FastifyReply): void {
    const { code, body } = this.bodyOf(error);
    void reply.status(ErrorCode[code]).type('application/json; charset=utf-8').send(body);
  }

  /** What the client hears of it; what is our own fault is logged. */
  private bodyOf(error: unknown): { code: ErrorCode; body: ErrorBody } {
    const known = error instanceof ChassisError ? error : httpError(error);
    if (!known) this.options.log.error('a bug', error);
    const { code, message, suggestion } =
      known ??
      new ChassisError(
        'INTERNAL',
        'an internal error; the daemon logged it',
        'see the log of `chassis serve`',
      );
    return { code, body: { code, message, ...(suggestion !== undefined && { suggestion }) } };
  }
}

async function* eventTexts(events: AsyncGenerator<Event>): AsyncGenerator<string> {
  yield ': what follows, happens\n\n';
  for await (const event of events) yield `id: ${event.id}\ndata: ${JSON.stringify(event)}\n\n`;
}

/** Faults of the request that fastify itself finds: malformed JSON, a body too large, another content type. */
function httpError(error: unknown): ChassisError | undefined {
  if (!(error instanceof Error) || !('statusCode' in error) || typeof error.statusCode !== 'number')
    return undefined;
  return error.statusCode < 500 ? new ChassisError('BAD_REQUEST', error.message) : undefined;
}

/** @throws ChassisError BAD_REQUEST */
function callOf(route: Route, request: FastifyRequest, reply: FastifyReply): Call<never> {
  return {
    params: request.params as Call<never>['params'],
    query: route.query && parseQuery(route.query, route, request),
    body: route.body && parse(route.body, request.body ?? {}),
    onGone: (callback) =>
      reply.raw.once('close', () => {
        if (!reply.raw.writableFinished) callback();
      }),
  };
}

/** Query values are text: they are converted to what the schema asks for where that loses nothing. */
function parseQuery(schema: TSchema, { headers = {} }: Route, request: FastifyRequest): unknown {
  const asked: Record<string, unknown> = { ...(request.query as object) };
  for (const [header, name] of Object.entries(headers)) {
    const value = request.headers[header.toLowerCase()];
    if (value !== undefined) asked[name] = value;
  }
  return parse(schema, Value.Convert(schema, asked));
}

function parse(schema: TSchema, input: unknown): unknown {
  const value: unknown = Value.Default(schema, input);
  const problem = Value.Errors(schema, value).First();
  if (!problem) return value;
  const where = problem.path === '' ? 'the request' : problem.path.slice(1).replaceAll('/', '.');
  const { description } = problem.schema;
  throw new ChassisError(
    'BAD_REQUEST',
    `${where}: ${description ? `expected ${description}` : problem.message}`,
  );
}
