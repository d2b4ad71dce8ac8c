import { createConnection, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Event } from '../../../manager/control/api.js';
import { ChassisClient } from '../../../manager/control/client.js';
import { ControlServer } from '../../../manager/control/server.js';
import { apiSocketPath } from '../../../manager/control/state-directory.js';
import { EventLog } from '../../../manager/events/event-log.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';
import { NotingService } from './noting-service.js';
import { silentLog } from '../../support/log.js';

const KEPT_EVENTS = 64;

describe('server-sent events', () => {
  const folder = temporaryFolders();
  let directory: string;
  let happened: EventLog;
  let listening: AbortSignal[];
  let server: ControlServer;
  let client: ChassisClient;

  beforeEach(async () => {
    directory = folder();
    happened = new EventLog(KEPT_EVENTS);
    listening = [];
    const service = Object.assign(new NotingService(), {
      events: (query: object, gone: AbortSignal) => {
        listening.push(gone);
        return happened.follow(query, gone);
      },
    });
    server = new ControlServer({ socketPath: apiSocketPath(directory), service, log: silentLog });
    await server.start();
    client = new ChassisClient({ directory });
  });
  afterEach(async () => {
    happened.close();
    await server.stop();
  });

  /** Asks by hand; what came so far. */
  function ask(path: string, ...headers: string[]): { socket: Socket; text: () => string } {
    const socket = createConnection(apiSocketPath(directory));
    let text = '';
    socket.setEncoding('utf8').on('data', (piece: string) => (text += piece));
    socket.write([`GET ${path} HTTP/1.1`, 'Host: x', ...headers, '', ''].join('\r\n'));
    return { socket, text: () => text };
  }

  const tell = (chassis: string) => happened.append(chassis, { type: 'vm.gone' });

  it('begin with a comment, and are an id and JSON each', async () => {
    const { socket, text } = ask('/v1/events');
    await expect.poll(text).toMatch(/^HTTP\/1\.1 200 OK\r\ncontent-type: text\/event-stream\r\n[\s\S]*\n: /i);
    tell('dev');
    await expect
      .poll(text)
      .toMatch(
        /\nid: ([0-9a-f]{8}-1)\ndata: \{"id":"\1","time":"[^"]+Z","chassis":"dev","type":"vm.gone"\}\n\n/,
      );
    socket.destroy();
  });

  it('go on from what the header of a browser names, or the query', async () => {
    tell('a');
    tell('b');
    const all = ask('/v1/events?since=start');
    await expect.poll(all.text).toContain('"chassis":"b"');
    const [, id] = /id: (.*-1)\n/.exec(all.text()) ?? [];
    for (const since of [ask(`/v1/events?since=${id}`), ask('/v1/events', `Last-Event-ID: ${id}`)]) {
      await expect.poll(since.text).toContain('"chassis":"b"');
      expect(since.text()).not.toMatch(/"chassis":"a"|gap/);
      since.socket.destroy();
    }
    all.socket.destroy();
    const refused = ask(`/v1/events?since=${'x'.repeat(65)}`);
    await expect.poll(refused.text).toMatch(/400.*BAD_REQUEST/s);
    refused.socket.destroy();
  });

  it('cost nothing any more once whoever listened has gone', async () => {
    const { socket, text } = ask('/v1/events');
    await expect.poll(text).toContain('\n: ');
    socket.destroy();
    await expect.poll(() => listening[0].aborted).toBe(true);
  });

  it('are held for nobody who does not read: who is too slow is told what was missed', async () => {
    const { socket, text } = ask('/v1/events');
    await expect.poll(text).toContain('\n: ');
    socket.pause();
    for (let i = 0; i < 20_000; i++) {
      tell(`c${i}`);
      // The server writes as long as the socket takes it.
      if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    socket.resume();
    await expect.poll(text).toContain('"chassis":"c19999"');
    const gaps = Array.from(text().matchAll(/"type":"gap","missed":(\d+)/g), ([, count]) => Number(count));
    const missed = gaps.reduce((sum, count) => sum + count, 0);
    const told = text().split('"vm.gone"').length - 1;
    expect(missed).toBeGreaterThan(1000);
    expect(missed + told).toBe(20_000);
    socket.destroy();
  });

  it('keep nobody from stopping who does not read them', async () => {
    const { socket, text } = ask('/v1/events');
    await expect.poll(text).toContain('\n: ');
    socket.pause();
    for (let i = 0; i < 20_000; i++) {
      tell(`c${i}`);
      if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    happened.close();
    await server.stop();
    socket.destroy();
  });

  it('come to the client one by one, which leaves when it likes', async () => {
    const events = await client.events({ chassis: 'b' });
    tell('a');
    tell('b');
    const value = (await events.next()).value as Event;
    expect(value).toMatchObject({ type: 'vm.gone', chassis: 'b' });
    await events.return(undefined);
    await expect.poll(() => listening[0].aborted).toBe(true);
    const resumed = await client.events({ since: value.id });
    tell('c');
    expect((await resumed.next()).value).toMatchObject({ chassis: 'c' });
    await resumed.return(undefined);
  });

  it('end for a client that was told to stop, in the middle of waiting too', async () => {
    const stop = new AbortController();
    const events = await client.events({}, stop.signal);
    const next = events.next();
    stop.abort();
    expect(await next).toEqual({ done: true, value: undefined });
    expect(await (await client.events({}, stop.signal)).next()).toMatchObject({ done: true });
  });

  it('end with the daemon, which does not wait for who listens; the client says so', async () => {
    const events = await client.events();
    const next = events.next();
    happened.close();
    await server.stop();
    await expect(next).rejects.toMatchObject(refusal('NO_DAEMON'));
    await expect(client.events()).rejects.toMatchObject(refusal('NO_DAEMON'));
  });
});
