import { createServer } from 'node:http';
import { describe, expect, it } from 'vitest';
import { ChassisClient } from '../../../manager/control/client.js';
import { ROUTES, type Operation, type Route } from '../../../manager/control/routes.js';
import { apiSocketPath } from '../../../manager/control/state-directory.js';
import { temporaryFolders } from '../temporary-folder.js';

/** Which route a request is for, by its method and its path. */
function operationOf(method = '', url = ''): Operation | undefined {
  const path = url.split('?')[0];
  const routes = Object.entries<Route>(ROUTES);
  const found = routes.find(([, route]) => {
    const pattern = new RegExp(`^${route.path.replaceAll(/\{\w+\}/g, '[^/]+')}$`);
    return route.method === method && pattern.test(path);
  });
  return found?.[0] as Operation | undefined;
}

describe('the methods of ChassisClient', () => {
  const folder = temporaryFolders();

  it('are for all that the API can be asked for', async () => {
    const directory = folder();
    const asked = new Set<Operation | undefined>();
    const server = createServer((request, response) => {
      asked.add(operationOf(request.method, request.url));
      request.resume();
      response.end('{"done":true}\n');
    });
    await new Promise<void>((resolve) => server.listen(apiSocketPath(directory), resolve));
    const client = new ChassisClient({ directory });
    // What they are given and what they make of the answer is of no interest here.
    const methods = Object.getOwnPropertyNames(ChassisClient.prototype).filter(
      (name) => !['constructor', 'call', 'send', 'begun', 'told', 'lines', 'connectionError'].includes(name),
    );
    const bare = client as unknown as Record<
      string,
      (...args: unknown[]) => AsyncGenerator | Promise<unknown>
    >;
    for (const name of methods) {
      for (const args of [['dev', 'a', {}], []]) {
        const answer = bare[name](...args);
        if ('next' in answer) await answer.next();
        else await answer.catch(() => undefined);
      }
    }
    server.closeAllConnections();
    server.close();
    expect([...asked].sort()).toEqual(Object.keys(ROUTES).sort());
  });
});
