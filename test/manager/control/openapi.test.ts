import { Validator } from '@seriousme/openapi-schema-validator';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChassisError, ErrorCode } from '../../../manager/control/api.js';
import { openApiDocument } from '../../../manager/control/openapi.js';
import { codesOf, ROUTES, type Operation } from '../../../manager/control/routes.js';
import { ControlServer } from '../../../manager/control/server.js';
import { apiSocketPath } from '../../../manager/control/state-directory.js';
import {
  askHttp,
  DocumentedApi,
  type Document,
  type DocumentedRoute,
} from '../../support/documented-answers.js';
import { temporaryFolders } from '../temporary-folder.js';
import { NotingService } from './noting-service.js';
import { silentLog } from '../../support/log.js';

const PARAMETERS: Readonly<Record<string, string>> = {
  name: 'dev',
  tag: 'a',
  disk: 'root',
  card: 'lan0',
  command: '3',
};

/** The least that each may be asked with. */
const BODIES: Partial<Record<Operation, object>> = {
  createChassis: { name: 'dev' },
  attach: { mounts: [{ source: { type: 'memory' }, tag: 'a' }] },
  changePolicy: {},
  review: { kind: 'diff' },
  exec: { command: ['true'] },
  execInput: {},
  execSignal: { signal: 'TERM' },
  addDisk: { name: 'root', source: { type: 'memory', sizeBytes: 512 } },
  resizeDisk: { sizeBytes: 512 },
  addCard: { name: 'lan0', network: { type: 'switch', switch: 'lan' } },
  setLink: { up: true },
  capture: { path: '/tmp/x' },
  plan: { mounts: 9 },
  save: { path: '/tmp/x' },
  restore: { path: '/tmp/x' },
  qemuArgs: {},
};

function urlOf({ path }: DocumentedRoute): string {
  return path.replaceAll(/\{(\w+)\}/g, (_, name: string) => PARAMETERS[name]);
}

function bodyOf({ operation }: DocumentedRoute): object | undefined {
  return BODIES[operation.operationId as Operation];
}

describe('the OpenAPI document', () => {
  const folder = temporaryFolders();
  let socketPath: string;
  let service: NotingService;
  let server: ControlServer;
  let api: DocumentedApi;

  beforeEach(async () => {
    socketPath = apiSocketPath(folder());
    service = new NotingService();
    service.execPages = [{ command: 3 }, { exitCode: 0 }];
    service.pages = [
      { changes: [{ kind: 'added', path: '/a', type: 'file' }], entries: 1, path: '/a', done: false },
      { changes: [], entries: 1, done: true },
    ];
    server = new ControlServer({ socketPath, service, log: silentLog });
    await server.start();
    const { text } = await askHttp(socketPath, 'GET', '/openapi.json');
    api = new DocumentedApi(JSON.parse(text) as Document);
  });
  afterEach(() => server.stop());

  it('is valid, and has the version of the daemon', async () => {
    const { text, type } = await askHttp(socketPath, 'GET', '/openapi.json');
    const document = JSON.parse(text) as Document & { info: { version: string } };
    expect(await new Validator().validate(document as never)).toEqual({ valid: true });
    expect([document.openapi, document.info.version, type]).toEqual([
      ...['3.1.0', '1.2.3', 'application/json; charset=utf-8'],
    ]);
    expect(document).toEqual(openApiDocument('1.2.3'));
  });

  it('has each route, by its name, with a summary of its own', () => {
    expect(api.routes.map(({ operation }) => operation.operationId).sort()).toEqual(
      Object.keys(ROUTES).sort(),
    );
    expect(new Set(api.routes.map(({ operation }) => operation.summary)).size).toBe(api.routes.length);
  });

  it('says what each route answers, and by its routes all is reached that the daemon does', async () => {
    const waiting: Promise<void>[] = [];
    for (const route of api.routes) {
      const answered = askHttp(socketPath, route.method, urlOf(route), bodyOf(route)).then((answer) => {
        expect([route.operation.operationId, answer.status]).toEqual([route.operation.operationId, 200]);
        expect(api.problemsOfAnswer(route, answer), route.operation.operationId).toEqual([]);
      });
      // Until its end is asked for.
      if (route.operation.operationId === 'capture') {
        waiting.push(answered);
        await expect.poll(() => service.calls.at(-1)?.[0]).toBe('capture');
      } else await answered;
    }
    await Promise.all(waiting);
    expect(new Set(service.calls.map(([name]) => name))).toEqual(new Set(service.methods));
  });

  it('says what each route takes: the server takes that, and refuses what it does not allow', async () => {
    const taking = api.routes.filter(({ operation }) => operation.requestBody);
    expect(taking.map(({ operation }) => operation.operationId).sort()).toEqual(Object.keys(BODIES).sort());
    for (const route of taking) {
      const body = { ...bodyOf(route) };
      expect(api.problemsOfBody(route, body), route.operation.operationId).toEqual([]);
      for (const wrong of [{ ...body, nosuch: 1 }, []]) {
        expect(api.problemsOfBody(route, wrong), route.operation.operationId).not.toEqual([]);
        const answer = await askHttp(socketPath, route.method, urlOf(route), wrong);
        expect(answer.status).toBe(400);
        expect(api.problemsOfAnswer(route, answer)).toEqual([]);
      }
      const [needed] = Object.keys(body);
      if (needed === undefined) continue;
      expect(api.problemsOfBody(route, { ...body, [needed]: undefined })).not.toEqual([]);
    }
    expect(service.calls).toEqual([]);
  });

  it('says what each route may be refused with, under the status of that', async () => {
    for (const route of api.routes) {
      const operation = route.operation.operationId as Operation;
      if (['health', 'openapi', 'guestSetup', 'shutdown'].includes(operation)) continue;
      for (const code of codesOf(ROUTES[operation])) {
        service.failure = new ChassisError(code, 'no', 'do something else');
        const answer = await askHttp(socketPath, route.method, urlOf(route), bodyOf(route));
        expect(api.problemsOfAnswer(route, answer), `${operation}: ${code}`).toEqual([]);
      }
      service.failure = new ChassisError('MANIFEST_INVALID', 'no');
      const answer = await askHttp(socketPath, route.method, urlOf(route), bodyOf(route));
      expect(api.problemsOfAnswer(route, answer), operation).not.toEqual([]);
    }
  });

  it('has every error code but those that a command alone says', () => {
    const codes = new Set(Object.values(ROUTES).flatMap((route) => codesOf(route)));
    const missing = Object.keys(ErrorCode).filter((code) => !codes.has(code as ErrorCode));
    expect(missing).toEqual(['MANIFEST_INVALID', 'PLAN_BLOCKED', 'PROVISION_FAILED', 'ADDRESS_IN_USE']);
  });

  it('has the parameters of queries, none of which is needed', () => {
    const { operation } = api.routes.find((route) => route.operation.operationId === 'detach')!;
    const query = (operation.parameters ?? []).filter((parameter) => parameter.in === 'query');
    expect(query.map(({ name }) => name)).toEqual(['force', 'slot', 'keepFunction', 'discard', 'timeoutMs']);
    expect(query.every((parameter) => !(parameter as { required?: boolean }).required)).toBe(true);
  });
});
