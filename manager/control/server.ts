/** The daemon's API as an HTTP server on a unix socket that only its owner may open. */
import { chmodSync, rmSync } from 'node:fs';
import { Readable } from 'node:stream';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Static, TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import {
  AddCardRequest,
  AddDiskRequest,
  API_PREFIX,
  AttachRequest,
  CaptureRequest,
  AuditQuery,
  ChassisError,
  CreateChassisRequest,
  DeleteChassisQuery,
  DetachQuery,
  ErrorCode,
  GuestSetupQuery,
  PlanRequest,
  PolicyChange,
  QemuArgsRequest,
  RemoveCardQuery,
  RemoveDiskQuery,
  ResizeDiskRequest,
  SetLinkRequest,
  ReviewRequest,
  type ErrorBody,
  type ReviewPage,
} from './api.js';
import type { ChassisService } from './service.js';

export interface ControlServerOptions {
  readonly socketPath: string;
  readonly service: ChassisService;
  /** Takes what went wrong on our side, with its stack: the client hears only that it did. */
  readonly log: (message: string) => void;
}

interface NameParams {
  name: string;
}
interface MountParams extends NameParams {
  tag: string;
}

/** Far above any request: eight mounts of 4 KiB paths. */
const BODY_LIMIT_BYTES = 256 * 1024;
const IDLE_LOOK_MS = 10;

export class ControlServer {
  private readonly app: FastifyInstance;
  private readonly options: ControlServerOptions;
  /** Of each request that is not answered yet: what fails it. */
  private readonly unanswered = new Set<(error: ChassisError) => void>();

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
    this.app.setErrorHandler((error, _request, reply) => this.answerError(error, reply));
    this.app.setNotFoundHandler((request, reply) => {
      this.answerError(
        new ChassisError('BAD_REQUEST', `no such route: ${request.method} ${request.url}`),
        reply,
      );
    });
    this.addRoutes(options.service);
    this.addDiskRoutes(options.service);
    this.addCardRoutes(options.service);
    this.addPolicyRoutes(options.service);
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

  /** Lets requests under way be answered, then closes and removes the socket. */
  async stop(): Promise<void> {
    await this.app.close();
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

  private addRoutes(service: ChassisService): void {
    const { app } = this;
    const at = (path: string) => API_PREFIX + path;
    app.get(at('/health'), () => service.health());
    app.get(at('/chassis'), () => service.list());
    app.post(at('/chassis'), (request) => service.create(parseBody(CreateChassisRequest, request)));
    app.get(at('/mounts'), () => service.mounts());
    app.get<{ Params: NameParams }>(at('/chassis/:name'), ({ params }) => service.get(params.name));
    app.delete<{ Params: NameParams }>(at('/chassis/:name'), (request) =>
      service.delete(request.params.name, parseQuery(DeleteChassisQuery, request)),
    );
    app.get<{ Params: NameParams }>(at('/chassis/:name/mounts'), ({ params }) => service.mounts(params.name));
    app.post<{ Params: NameParams }>(at('/chassis/:name/attach'), (request) =>
      service.attach(request.params.name, parseBody(AttachRequest, request)),
    );
    app.delete<{ Params: MountParams }>(at('/chassis/:name/mounts/:tag'), (request) => {
      const { name, tag } = request.params;
      return service.detach(name, tag, parseQuery(DetachQuery, request));
    });
    app.get(at('/guest-setup'), (request) => service.guestSetup(parseQuery(GuestSetupQuery, request)));
    app.post(at('/plan'), (request) => service.plan(parseBody(PlanRequest, request)));
    app.get<{ Params: NameParams }>(at('/chassis/:name/tree'), ({ params }) => service.tree(params.name));
    app.post<{ Params: NameParams }>(at('/chassis/:name/restart'), ({ params }) =>
      service.restart(params.name),
    );
    app.post<{ Params: NameParams }>(at('/chassis/:name/upgrade'), ({ params }) =>
      service.upgrade(params.name),
    );
    app.post<{ Params: NameParams }>(at('/chassis/:name/qemu-args'), (request) =>
      service.qemuArgs(request.params.name, parseBody(QemuArgsRequest, request)),
    );
    app.post(at('/shutdown'), () => {
      service.shutdown();
      return {};
    });
  }

  private addDiskRoutes(service: ChassisService): void {
    const { app } = this;
    const disks = `${API_PREFIX}/chassis/:name/disks`;
    app.get(`${API_PREFIX}/disks`, () => service.disks());
    app.get<{ Params: NameParams }>(disks, ({ params }) => service.disks(params.name));
    app.post<{ Params: NameParams }>(disks, (request) =>
      service.addDisk(request.params.name, parseBody(AddDiskRequest, request)),
    );
    app.post<{ Params: NameParams & { disk: string } }>(`${disks}/:disk/resize`, (request) => {
      const { name, disk } = request.params;
      return service.resizeDisk(name, disk, parseBody(ResizeDiskRequest, request));
    });
    app.delete<{ Params: NameParams & { disk: string } }>(`${disks}/:disk`, async (request) => {
      const { name, disk } = request.params;
      await service.removeDisk(name, disk, parseQuery(RemoveDiskQuery, request));
      return {};
    });
  }

  private addCardRoutes(service: ChassisService): void {
    const { app } = this;
    const cards = `${API_PREFIX}/chassis/:name/cards`;
    type CardParams = { Params: NameParams & { card: string } };
    app.get(`${API_PREFIX}/cards`, () => service.cards());
    app.get<{ Params: NameParams }>(cards, ({ params }) => service.cards(params.name));
    app.post<{ Params: NameParams }>(cards, (request) =>
      service.addCard(request.params.name, parseBody(AddCardRequest, request)),
    );
    app.post<CardParams>(`${cards}/:card/link`, (request) =>
      service.setLink(request.params.name, request.params.card, parseBody(SetLinkRequest, request)),
    );
    app.post<CardParams>(`${cards}/:card/capture`, (request, reply) => {
      const { name, card } = request.params;
      const end = () => void service.endCapture(name, card).catch(() => undefined);
      // Who asked for it is gone, and would never end it.
      reply.raw.once('close', () => {
        if (!reply.raw.writableFinished) end();
      });
      return service.capture(name, card, parseBody(CaptureRequest, request));
    });
    app.delete<CardParams>(`${cards}/:card/capture`, async ({ params }) => {
      await service.endCapture(params.name, params.card);
      return {};
    });
    app.delete<CardParams>(`${cards}/:card`, async (request) => {
      const { name, card } = request.params;
      await service.removeCard(name, card, parseQuery(RemoveCardQuery, request));
      return {};
    });
  }

  private addPolicyRoutes(service: ChassisService): void {
    const { app } = this;
    const mount = `${API_PREFIX}/chassis/:name/mounts/:tag`;
    app.get<{ Params: MountParams }>(`${mount}/policy`, ({ params }) =>
      service.policy(params.name, params.tag),
    );
    app.patch<{ Params: MountParams }>(`${mount}/policy`, (request) => {
      const { name, tag } = request.params;
      return service.changePolicy(name, tag, parseBody(PolicyChange, request));
    });
    app.post<{ Params: MountParams }>(`${mount}/revoke`, ({ params }) =>
      service.revoke(params.name, params.tag),
    );
    app.get<{ Params: MountParams }>(`${mount}/audit`, (request) => {
      const { name, tag } = request.params;
      return service.audit(name, tag, parseQuery(AuditQuery, request));
    });
    app.post<{ Params: MountParams }>(`${mount}/review`, async (request, reply) => {
      const { name, tag } = request.params;
      const pages = service.review(name, tag, parseBody(ReviewRequest, request));
      // What is wrong from the start is an answer like others.
      const first = await pages.next();
      return reply.type('application/x-ndjson').send(Readable.from(this.lines(first, pages)));
    });
  }

  private async *lines(
    first: IteratorResult<ReviewPage, unknown>,
    pages: AsyncGenerator<ReviewPage>,
  ): AsyncGenerator<string> {
    try {
      if (!first.done) yield `${JSON.stringify(first.value)}\n`;
      for await (const page of pages) yield `${JSON.stringify(page)}\n`;
    } catch (error) {
      yield `${JSON.stringify({ error: this.bodyOf(error).body })}\n`;
    } finally {
      await pages.return(undefined);
    }
  }

  private answerError(error: unknown, reply: FastifyReply): void {
    const { code, body } = this.bodyOf(error);
    void reply.status(ErrorCode[code]).send(body);
  }

  /** What the client hears of it; what is our own fault is logged. */
  private bodyOf(error: unknown): { code: ErrorCode; body: ErrorBody } {
    const known = error instanceof ChassisError ? error : httpError(error);
    if (!known) this.options.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
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

/** Faults of the request that fastify itself finds: malformed JSON, a body too large, another content type. */
function httpError(error: unknown): ChassisError | undefined {
  if (!(error instanceof Error) || !('statusCode' in error) || typeof error.statusCode !== 'number')
    return undefined;
  return error.statusCode < 500 ? new ChassisError('BAD_REQUEST', error.message) : undefined;
}

function parseBody<T extends TSchema>(schema: T, request: FastifyRequest): Static<T> {
  return parse(schema, request.body ?? {});
}

/** Query values are text: they are converted to what the schema asks for where that loses nothing. */
function parseQuery<T extends TSchema>(schema: T, request: FastifyRequest): Static<T> {
  return parse(schema, Value.Convert(schema, request.query ?? {}));
}

function parse<T extends TSchema>(schema: T, input: unknown): Static<T> {
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
