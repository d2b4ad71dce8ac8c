/** What the service is asked for by each route of the table. */
import { metricsText } from './metrics.js';
import { openApiDocument } from './openapi.js';
import type {
  AnswerOf,
  Body,
  EVENT_STREAM,
  JSON_LINES,
  Operation,
  Parameters,
  Query,
  ROUTES,
} from './routes.js';
import type { ChassisService } from './service.js';

/** Half of what Prometheus waits for by default. */
const SCRAPE_TIMEOUT_MS = 5000;

/** A request that fits its route's schemas. */
export interface Call<K extends Operation> {
  readonly params: Parameters<K>;
  readonly query: Query<K>;
  readonly body: Body<K>;
  /** Calls it once where whoever asked has gone before there was an answer. */
  readonly onGone: (callback: () => void) => void;
}

type Answered<K extends Operation> = (typeof ROUTES)[K] extends {
  readonly type: typeof JSON_LINES | typeof EVENT_STREAM;
}
  ? AsyncGenerator<AnswerOf<K>>
  : AnswerOf<K> | Promise<AnswerOf<K>>;

export type Handlers = {
  readonly [K in Operation]: (service: ChassisService, call: Call<K>) => Answered<K>;
};

export const HANDLERS: Handlers = {
  health: (service) => service.health(),
  listChassis: (service) => service.list(),
  createChassis: (service, { body }) => service.create(body),
  getChassis: (service, { params }) => service.get(params.name),
  deleteChassis: (service, { params, query }) => service.delete(params.name, query),
  attach: (service, { params, body }) => service.attach(params.name, body),
  listMounts: (service) => service.mounts(),
  listMountsOfChassis: (service, { params }) => service.mounts(params.name),
  detach: (service, { params, query }) => service.detach(params.name, params.tag, query),
  getPolicy: (service, { params }) => service.policy(params.name, params.tag),
  changePolicy: (service, { params, body }) => service.changePolicy(params.name, params.tag, body),
  revoke: (service, { params }) => service.revoke(params.name, params.tag),
  audit: (service, { params, query }) => service.audit(params.name, params.tag, query),
  review: (service, { params, body }) => service.review(params.name, params.tag, body),
  listDisks: (service) => service.disks(),
  listDisksOfChassis: (service, { params }) => service.disks(params.name),
  addDisk: (service, { params, body }) => service.addDisk(params.name, body),
  resizeDisk: (service, { params, body }) => service.resizeDisk(params.name, params.disk, body),
  removeDisk: async (service, { params, query }) => {
    await service.removeDisk(params.name, params.disk, query);
    return {};
  },
  listCards: (service) => service.cards(),
  listCardsOfChassis: (service, { params }) => service.cards(params.name),
  addCard: (service, { params, body }) => service.addCard(params.name, body),
  setLink: (service, { params, body }) => service.setLink(params.name, params.card, body),
  capture: (service, { params: { name, card }, body, onGone }) => {
    // Who asked for it would never end it.
    onGone(() => void service.endCapture(name, card).catch(() => undefined));
    return service.capture(name, card, body);
  },
  endCapture: async (service, { params }) => {
    await service.endCapture(params.name, params.card);
    return {};
  },
  removeCard: async (service, { params, query }) => {
    await service.removeCard(params.name, params.card, query);
    return {};
  },
  exec: (service, { params, body }) => service.exec(params.name, body),
  execInput: async (service, { params, body }) => {
    await service.execInput(params.name, Number(params.command), body);
    return {};
  },
  execSignal: async (service, { params, body }) => {
    await service.execSignal(params.name, Number(params.command), body.signal);
    return {};
  },
  guestSetup: (service, { query }) => service.guestSetup(query),
  plan: (service, { body }) => service.plan(body),
  tree: (service, { params }) => service.tree(params.name),
  restart: (service, { params }) => service.restart(params.name),
  save: (service, { params, body }) => service.save(params.name, body),
  restore: (service, { body }) => service.restoreSaved(body),
  upgrade: (service, { params }) => service.upgrade(params.name),
  qemuArgs: (service, { params, body }) => service.qemuArgs(params.name, body),
  shutdown: (service) => {
    service.shutdown();
    return {};
  },
  events: (service, { query, onGone }) => {
    const gone = new AbortController();
    onGone(() => gone.abort());
    return service.events(query, gone.signal);
  },
  metrics: async (service) => metricsText(service.health(), await service.observe(SCRAPE_TIMEOUT_MS)),
  openapi: (service) => openApiDocument(service.health().version),
};
