/** Describes the API as an OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.0), made of the table of routes and its schemas. */
import { KindGuard, type TObject, type TSchema } from '@sinclair/typebox';
import * as api from './api.js';
import { codesOf, parametersOf, ROUTES, type Route } from './routes.js';

type Json = Readonly<Record<string, unknown>>;

export interface OpenApiDocument {
  readonly openapi: string;
  readonly info: Json;
  readonly servers: readonly Json[];
  readonly paths: Readonly<Record<string, Json>>;
  readonly components: { readonly schemas: Json };
}

const DESCRIPTION =
  'HTTP and JSON on the unix socket `api.sock` in the state directory of the daemon, which its user alone may open. Whatever is refused is ' +
  'answered with an ErrorBody, whose codes do not change.';
/** A program with a connection to the socket says any host. */
const SERVERS = [{ url: 'http://localhost', description: 'what listens on the unix socket' }];

const LICENSE = { name: 'Apache-2.0', identifier: 'Apache-2.0' };

/** Of parameters in paths. */
const PARAMETERS: Readonly<Record<string, string>> = {
  name: 'a chassis',
  tag: 'a mount of it',
  disk: 'a disk of it',
  card: 'a network card of it',
};

/** What has a name in the API and more to it than a value. By their text: typebox copies a schema where it is optional. */
const NAMES = new Map(
  Object.entries<unknown>(api)
    .filter(([, exported]) => isComponent(exported))
    .map(([name, schema]) => [JSON.stringify(schema), name]),
);

function isComponent(exported: unknown): boolean {
  return KindGuard.IsObject(exported) || KindGuard.IsUnion(exported);
}

export function openApiDocument(version: string): OpenApiDocument {
  const components = new Components();
  const error = components.reference(api.ErrorBody);
  const paths: Record<string, Json> = {};
  for (const [operationId, route] of Object.entries<Route>(ROUTES)) {
    const operation = describeRoute(operationId, route, components, error);
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation };
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Chassis', version, description: DESCRIPTION, license: LICENSE },
    servers: SERVERS,
    paths,
    components: { schemas: components.sorted() },
  };
}

function describeRoute(operationId: string, route: Route, components: Components, error: Json): Json {
  const { summary, description, body, answer, type = 'application/json' } = route;
  const parameters = [
    ...pathParameters(route),
    ...queryParameters(route.query, components),
    ...headerParameters(route),
  ];
  return {
    ...{ operationId, summary },
    ...(description !== undefined && { description }),
    ...(parameters.length > 0 && { parameters }),
    ...(body && {
      requestBody: {
        required: true,
        content: { 'application/json': { schema: components.reference(body) } },
      },
    }),
    responses: {
      200: { description: 'done', content: { [type]: { schema: components.reference(answer) } } },
      ...errorResponses(route, error),
    },
  };
}

function pathParameters(route: Route): Json[] {
  return parametersOf(route).map((name) => ({
    ...{ name, in: 'path', required: true, description: PARAMETERS[name] },
    schema: { type: 'string' },
  }));
}

function queryParameters(query: TObject | undefined, components: Components): Json[] {
  const required: unknown = query?.required ?? [];
  return Object.entries(query?.properties ?? {}).map(([name, schema]) => ({
    ...{ name, in: 'query' },
    required: Array.isArray(required) && required.includes(name) && schema.default === undefined,
    schema: components.reference(schema),
  }));
}

function headerParameters({ headers = {} }: Route): Json[] {
  return Object.entries(headers).map(([name, parameter]) => ({
    ...{ name, in: 'header', required: false, description: `in place of \`${parameter}\`` },
    schema: { type: 'string' },
  }));
}

/** The codes by their status. */
function errorResponses(route: Route, error: Json): Json {
  const byStatus = new Map<number, api.ErrorCode[]>();
  for (const code of codesOf(route)) {
    const status = api.ErrorCode[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const responses = Array.from(byStatus, ([status, codes]) => [status, errorResponse(codes, error)] as const);
  return Object.fromEntries(responses);
}

function errorResponse(codes: readonly api.ErrorCode[], error: Json): Json {
  const schema = { allOf: [error, { properties: { code: { enum: codes } } }] };
  return { description: codes.join(', '), content: { 'application/json': { schema } } };
}

/** The schemas that have names, as far as they are referred to. */
class Components {
  private readonly schemas = new Map<string, unknown>();

  /** The schema, or where it has a name, a reference to it. */
  reference(schema: TSchema): Json {
    return this.convert(JSON.parse(JSON.stringify(schema))) as Json;
  }

  sorted(): Json {
    return Object.fromEntries([...this.schemas].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  private convert(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((each) => this.convert(each));
    if (typeof value !== 'object' || value === null) return value;
    const name = NAMES.get(JSON.stringify(value));
    if (name === undefined) return this.convertParts(value as Json);
    if (!this.schemas.has(name)) {
      this.schemas.set(name, undefined);
      this.schemas.set(name, this.convertParts(value as Json));
    }
    return refer(name);
  }

  private convertParts(schema: Json): Json {
    if (typeof schema.$ref === 'string') return refer(schema.$ref);
    const parts: Record<string, unknown> = {};
    for (const [key, part] of Object.entries(schema)) {
      if (key === 'properties') parts.properties = this.convertProperties(part as Json);
      else if (key === 'anyOf') Object.assign(parts, this.convertUnion(part as readonly Json[]));
      else if (key === 'required') Object.assign(parts, neededOf(schema));
      else if (key !== '$id') parts[key] = this.convert(part);
    }
    return parts;
  }

  /** Whose keys are names of their own. */
  private convertProperties(properties: Json): Json {
    return Object.fromEntries(
      Object.entries(properties).map(([name, schema]) => [name, this.convert(schema)]),
    );
  }

  /** One of several texts reads better as an enum. */
  private convertUnion(anyOf: readonly Json[]): Json {
    const texts = anyOf.map((each) => each.const).filter((each) => typeof each === 'string');
    return texts.length === anyOf.length ? { type: 'string', enum: texts } : { anyOf: this.convert(anyOf) };
  }
}

function refer(name: string): Json {
  return { $ref: `#/components/schemas/${name}` };
}

/** What has a default may be left out of a request, and is in every answer. */
function neededOf(schema: Json): Json {
  const { required, properties } = schema as { required: string[]; properties: Record<string, Json> };
  const needed = required.filter((name) => properties[name].default === undefined);
  return needed.length > 0 ? { required: needed } : {};
}
