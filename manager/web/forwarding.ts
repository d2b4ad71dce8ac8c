/** Passes what the page asks for on to the daemon's API, on its unix socket: those of its routes that the page uses, and no others. */
import { request, type IncomingMessage, type ServerResponse } from 'node:http';
import { ROUTES, type Operation, type Route } from '../control/routes.js';

const OF_THE_PAGE: readonly Operation[] = [
  ...(['health', 'listChassis', 'events'] as const),
  ...(['attach', 'detach', 'addDisk', 'removeDisk', 'addCard', 'setLink', 'removeCard'] as const),
];

/** Headers that mean something to the API, and to the page. */
const ASKED = ['last-event-id'];
const OF_BODIES = ['content-type', 'content-length'];
const ANSWERED = ['content-type', 'content-length', 'cache-control'];

const PATTERNS = OF_THE_PAGE.map((operation) => {
  const { method, path }: Route = ROUTES[operation];
  return { method, pattern: new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/?]+')}(?:\\?|$)`) };
});

export function isForwarded({ method, url = '' }: IncomingMessage): boolean {
  return PATTERNS.some((each) => each.method === method && each.pattern.test(url));
}

/** Whoever of the two goes takes the other along. */
export function forward(socketPath: string, asked: IncomingMessage, answer: ServerResponse): void {
  const { method, url } = asked;
  const hasBody = method === 'POST';
  const headers = only(hasBody ? [...ASKED, ...OF_BODIES] : ASKED, asked);
  const passed = request({ socketPath, method, path: url, headers, agent: false });
  passed.on('response', (from) => {
    answer.writeHead(from.statusCode ?? 502, only(ANSWERED, from));
    from.pipe(answer);
    from.on('error', () => answer.destroy());
  });
  passed.on('error', () => {
    if (answer.headersSent) answer.destroy();
    else answer.writeHead(502).end();
  });
  answer.on('close', () => passed.destroy());
  if (hasBody) return void asked.pipe(passed);
  // What came with it would be taken for the next request there.
  asked.resume();
  passed.end();
}

function only(names: readonly string[], { headers }: IncomingMessage): Record<string, string> {
  const kept = names.flatMap((name) => {
    const value = headers[name];
    return typeof value === 'string' ? [[name, value] as const] : [];
  });
  return Object.fromEntries(kept);
}
