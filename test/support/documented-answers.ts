import { Ajv2020 } from 'ajv/dist/2020.js';
import { request } from 'node:http';

export interface HttpAnswer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

/** Asks what listens on a unix socket, by none of the code that is tested. */
export function askHttp(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const asking = request({ socketPath, method, path, headers, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, type: answer.headers['content-type'] ?? '', text }),
      );
    });
    asking.on('error', reject).end(body === undefined ? undefined : JSON.stringify(body));
  });
}

export interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: object;
  readonly responses: Readonly<Record<string, { readonly content: Readonly<Record<string, unknown>> }>>;
}
export interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

export interface DocumentedRoute {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

/** Holds requests and answers to an OpenAPI document. */
export class DocumentedApi {
  readonly routes: readonly DocumentedRoute[];
  private readonly ajv = new Ajv2020({ strict: false });

  constructor(document: Document) {
    this.ajv.addSchema(document, 'api');
    this.routes = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        ...{ method: method.toUpperCase(), path, operation },
      })),
    );
  }

  /** What is wrong with a body. */
  problemsOfBody(route: DocumentedRoute, body: unknown): string[] {
    return this.problems(route, ['requestBody', 'content', 'application/json'], body);
  }

  /** What is wrong with an answer, its status and its type included. */
  problemsOfAnswer(route: DocumentedRoute, { status, type, text }: HttpAnswer): string[] {
    const types = Object.keys(route.operation.responses[status]?.content ?? {});
    const [documented] = types.filter((each) => type.startsWith(each.split(';')[0]));
    if (documented === undefined) return [`no answer of ${status} and ${type}`];
    const values = piecesOf(documented, text);
    return values.flatMap((value) =>
      this.problems(route, ['responses', String(status), 'content', documented], value),
    );
  }

  private problems({ method, path }: DocumentedRoute, where: readonly string[], value: unknown): string[] {
    const steps = ['paths', path, method.toLowerCase(), ...where, 'schema'];
    const pointer = steps.map((step) => step.replaceAll('~', '~0').replaceAll('/', '~1'));
    const check = this.ajv.compile({ $ref: `api#/${pointer.map(encodeURIComponent).join('/')}` });
    if (check(value)) return [];
    return (check.errors ?? []).map(({ instancePath, message }) => `${instancePath}: ${message}`);
  }
}

/** The documents that an answer of that type consists of. */
function piecesOf(type: string, text: string): unknown[] {
  const lines = text.trimEnd().split('\n');
  if (type.endsWith('ndjson')) return lines.map((line) => JSON.parse(line) as unknown);
  if (type === 'text/event-stream') {
    const data = lines.filter((line) => line.startsWith('data: '));
    return data.map((line) => JSON.parse(line.slice('data: '.length)) as unknown);
  }
  return [type === 'application/json' ? JSON.parse(text) : text];
}
