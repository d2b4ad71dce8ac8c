/** Reads YAML nodes by a schema: what fits becomes data, and what does not a problem with its place. */
import {
  KindGuard,
  type Static,
  type TArray,
  type TObject,
  type TRecord,
  type TSchema,
  type TUnion,
} from '@sinclair/typebox';
import { TypeCompiler, type TypeCheck } from '@sinclair/typebox/compiler';
import { isAlias, isMap, isScalar, isSeq, type Node, type YAMLMap } from 'yaml';
import { quoted } from '../../support/changes-text.js';
import type { YamlDocument } from './document.js';
import { expectation, remedy, shown } from './expectation.js';
import { didYouMean, type Position, type Problem } from './problems.js';

/** Aliases can stand for much: so many values in all are read. */
const VALUES_MAX = 250_000;
/** Whoever has so many problems has another file than they think. */
const PROBLEMS_MAX = 2000;

/** What is read next. */
interface Spot {
  /** Its key; of a list's entry, that of the list with its number; of a document, none. */
  readonly name: string;
  /** Null where nothing is written. */
  readonly node: Node | null;
  readonly at: Position;
}

interface Entry {
  readonly key: string;
  readonly keyAt: Position;
  readonly value: Spot;
}

type Read = Record<string, unknown>;

export class NodeReader {
  readonly problems: Problem[] = [];
  private readonly places = new WeakMap<object, Map<string, Position>>();
  private values = 0;

  /**
   * What a document says, without what has problems: so that the rest can be looked at further. Undefined where something is missing that
   * must be there.
   */
  read<T extends TSchema>(schema: T, document: YamlDocument): Static<T> | undefined {
    const spot = { name: '', node: document.root, at: document.at(document.root) };
    return new DocumentReader(this, document).value(schema, spot);
  }

  /** Where the value of a key of what was read is. */
  placeOf(holder: object, key: string): Position {
    const place = this.places.get(holder)?.get(key);
    if (!place) throw new Error(`nothing was read at ${key}`);
    return place;
  }

  /** In the order in which they were written: an object has numbers first. */
  keysOf(holder: object): string[] {
    return [...(this.places.get(holder)?.keys() ?? [])];
  }

  /** Notes a problem; answers what there is instead of a value. */
  refuse(at: Position, message: string, suggestion?: string): undefined {
    this.problems.push({ ...at, message, ...(suggestion !== undefined && { suggestion }) });
  }

  /** There is no sense in reading on. */
  get isStopped(): boolean {
    return this.values > VALUES_MAX || this.problems.length > PROBLEMS_MAX;
  }

  /** @internal False once it is enough. */
  count(at: Position): boolean {
    if (this.values++ === VALUES_MAX)
      this.refuse(at, `with what aliases stand for, there are more than ${VALUES_MAX} values`);
    return this.values <= VALUES_MAX;
  }

  /** @internal */
  place(holder: object, { key, value }: Entry): void {
    const places = this.places.get(holder) ?? new Map<string, Position>();
    this.places.set(holder, places.set(key, value.at));
  }
}

class DocumentReader {
  private readonly reader: NodeReader;
  private readonly document: YamlDocument;

  constructor(reader: NodeReader, document: YamlDocument) {
    this.reader = reader;
    this.document = document;
  }

  value(schema: TSchema, spot: Spot): unknown {
    if (!this.reader.count(spot.at)) return undefined;
    const here = { ...spot, node: this.resolved(spot.node) };
    const { node } = here;
    if (KindGuard.IsUnion(schema)) return this.union(schema, here);
    if (KindGuard.IsObject(schema) && isMap(node)) return this.object(schema, node, here);
    if (KindGuard.IsRecord(schema) && isMap(node)) return this.record(schema, node);
    if (KindGuard.IsArray(schema) && isSeq(node)) return this.list(schema, node.items as Node[], here);
    if (isScalar(node) && fits(schema, node.value)) return node.value;
    return this.unexpected(schema, here);
  }

  private object(schema: TObject, node: YAMLMap, { at }: Spot): Read | undefined {
    const { reader } = this;
    const read: Read = {};
    const seen = new Set<string>();
    for (const entry of this.entries(node)) {
      seen.add(entry.key);
      const property = Object.hasOwn(schema.properties, entry.key) ? schema.properties[entry.key] : undefined;
      if (property) this.put(read, property, entry);
      else this.unknownKey(entry, Object.keys(schema.properties));
    }
    const required = schema.required ?? [];
    for (const key of required) {
      if (!seen.has(key))
        reader.refuse(at, `${quoted(key)} is missing`, `it is ${expectation(schema.properties[key])}`);
    }
    return required.every((key) => Object.hasOwn(read, key)) ? read : undefined;
  }

  private record(schema: TRecord, node: YAMLMap): Read {
    const read: Read = {};
    const names = schema.propertyNames as TSchema;
    const [entrySchema] = Object.values(schema.patternProperties);
    for (const entry of this.entries(node)) {
      const { key, keyAt } = entry;
      if (fits(names, key)) this.put(read, entrySchema, { ...entry, value: { ...entry.value, at: keyAt } });
      else this.reader.refuse(keyAt, `${quoted(key)} cannot be a name here: expected ${expectation(names)}`);
    }
    return read;
  }

  private put(read: Read, schema: TSchema, entry: Entry): void {
    this.reader.place(read, entry);
    const value = this.value(schema, entry.value);
    // A name may be `__proto__`.
    if (value !== undefined)
      Object.defineProperty(read, entry.key, { value, enumerable: true, configurable: true });
  }

  private list(schema: TArray, items: readonly Node[], { name, at }: Spot): unknown[] | undefined {
    const { minItems = 0, maxItems = Infinity } = schema;
    if (items.length < minItems || items.length > maxItems) {
      const bounds = maxItems === Infinity ? `${minItems} or more` : `${minItems} to ${maxItems}`;
      return this.reader.refuse(at, `${name} has ${items.length} entries: expected ${bounds}`);
    }
    const before = this.reader.problems.length;
    const read = items.map((node, i) =>
      this.value(schema.items, { name: `${name}[${i}]`, node, at: this.document.at(node) }),
    );
    return this.reader.problems.length === before ? read : undefined;
  }

  /** By what is there: a list, one of several kinds of objects by its `type`, or a plain value. */
  private union(schema: TUnion, spot: Spot): unknown {
    const { node } = spot;
    if (isScalar(node) && fits(schema, node.value)) return node.value;
    if (isMap(node)) {
      const kinds = schema.anyOf.filter(KindGuard.IsObject);
      return kinds.length > 0 ? this.kind(kinds, node, spot) : this.unexpected(schema, spot);
    }
    const list = isSeq(node) ? schema.anyOf.find((variant) => KindGuard.IsArray(variant)) : undefined;
    return list ? this.value(list, spot) : this.unexpected(schema, spot);
  }

  private kind(kinds: readonly TObject[], node: YAMLMap, spot: Spot): unknown {
    const types = kinds.map(({ properties }) => String(properties.type.const));
    const typed = node.items.find(({ key }) => isScalar(key) && key.value === 'type')?.value as
      Node | undefined;
    const type = isScalar(typed) ? String(typed.value) : undefined;
    const chosen = kinds.find((_, i) => types[i] === type);
    if (chosen) return this.value(chosen, spot);
    const expected = `one of: ${types.join(', ')}`;
    if (type === undefined || !typed)
      return this.reader.refuse(spot.at, `${spot.name} has no type`, `it is ${expected}`);
    const message = `type: expected ${expected}, not ${quoted(type)}`;
    return this.reader.refuse(this.document.at(typed), message, didYouMean(type, types));
  }

  private unexpected(schema: TSchema, { name, node, at }: Spot): undefined {
    const what = name === '' ? '' : `${name}: `;
    this.reader.refuse(
      at,
      `${what}expected ${expectation(schema)}, not ${shown(node)}`,
      remedy(schema, node),
    );
  }

  private unknownKey({ key, keyAt }: Entry, known: readonly string[]): void {
    const message = `${quoted(key)} is no key here`;
    this.reader.refuse(keyAt, message, didYouMean(key, known) ?? `the keys are: ${known.join(', ')}`);
  }

  /** Keys as they are written, also where YAML takes them for numbers; each once. */
  private *entries(node: YAMLMap): Generator<Entry> {
    const seen = new Set<string>();
    for (const pair of node.items) {
      if (this.reader.isStopped) return;
      const [keyNode, valueNode] = [pair.key as Node, pair.value as Node | null];
      const keyAt = this.document.at(keyNode);
      const key = textOf(this.resolved(keyNode));
      if (key === '') this.reader.refuse(keyAt, 'a key is text, and not empty');
      else if (seen.has(key))
        this.reader.refuse(keyAt, `${quoted(key)} is there twice`, 'leave one of them out');
      else {
        seen.add(key);
        const at = valueNode && !isNothing(valueNode) ? this.document.at(valueNode) : keyAt;
        yield { key, keyAt, value: { name: key, node: valueNode, at } };
      }
    }
  }

  private resolved(node: Node | null): Node | null {
    return isAlias(node) ? (this.document.target(node) ?? node) : node;
  }
}

const compiled = new WeakMap<TSchema, TypeCheck<TSchema>>();

/** Compiled once: a manifest can have very many values. */
function fits(schema: TSchema, value: unknown): boolean {
  const check = compiled.get(schema) ?? TypeCompiler.Compile(schema);
  compiled.set(schema, check);
  return check.Check(value);
}

function textOf(key: Node | null): string {
  if (!isScalar(key)) return '';
  return typeof key.value === 'string' ? key.value : (key.source ?? '');
}

function isNothing(node: Node): boolean {
  return isScalar(node) && node.value === null && (node.source ?? '') === '';
}
