/** What a schema expects and what is there instead, in words. */
import { KindGuard, type TSchema } from '@sinclair/typebox';
import { isMap, isScalar, isSeq, type Node } from 'yaml';
import { quoted } from '../../support/changes-text.js';
import { didYouMean } from './problems.js';

export function expectation(schema: TSchema): string {
  if (schema.description !== undefined) return schema.description;
  if (KindGuard.IsBoolean(schema)) return 'true or false';
  if (KindGuard.IsInteger(schema)) return numberText(schema.minimum, schema.maximum);
  if (KindGuard.IsArray(schema)) return 'a list';
  if (KindGuard.IsUnion(schema)) return unionText(schema.anyOf);
  if (KindGuard.IsString(schema)) return stringText(schema.minLength, schema.maxLength);
  return KindGuard.IsLiteral(schema) ? quoted(String(schema.const)) : 'keys with values';
}

function numberText(minimum: number | undefined, maximum: number | undefined): string {
  return minimum === undefined || maximum === undefined
    ? 'a whole number'
    : `a whole number from ${minimum} to ${maximum}`;
}

function stringText(minimum: number | undefined, maximum: number | undefined): string {
  if (maximum === undefined) return 'text';
  return `text of ${minimum === undefined ? 'up' : minimum} to ${maximum} characters`;
}

function unionText(variants: readonly TSchema[]): string {
  const words = wordsOf(variants);
  return words.length === variants.length
    ? `one of: ${words.join(', ')}`
    : variants.map(expectation).join(', or ');
}

function wordsOf(variants: readonly TSchema[]): string[] {
  return variants.flatMap((variant) =>
    KindGuard.IsLiteral(variant)
      ? [String(variant.const)]
      : KindGuard.IsUnion(variant)
        ? wordsOf(variant.anyOf)
        : [],
  );
}

const SHOWN_MAX = 60;

export function shown(node: Node | null): string {
  if (isMap(node)) return 'keys with values';
  if (isSeq(node)) return 'a list';
  if (!isScalar(node)) return 'nothing';
  if (node.value === null) return 'nothing';
  const text = typeof node.value === 'string' ? quoted(node.value) : (node.source ?? '');
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}

/** What people trip over. */
export function remedy(schema: TSchema, node: Node | null): string | undefined {
  if (KindGuard.IsBoolean(schema)) return 'YAML 1.2 knows true and false, and not yes, no, on or off';
  if (!isScalar(node)) return undefined;
  const { value } = node;
  const takesText = KindGuard.IsString(schema);
  if (takesText && (typeof value === 'number' || typeof value === 'boolean'))
    return `put it in quotes: ${quoted(node.source ?? String(value))}`;
  if (typeof value !== 'string') return undefined;
  return KindGuard.IsUnion(schema) ? didYouMean(value, wordsOf(schema.anyOf)) : undefined;
}
