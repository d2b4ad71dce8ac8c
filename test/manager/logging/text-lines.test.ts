import { expect, it } from 'vitest';
import { wordsOf } from '../../../manager/logging/text-lines.js';

it.each([
  ['2026-01-01T00:00:00.000Z dev: ends', '2026-01-01T00:00:00.000Z dev: ends'],
  ['{"level":"error","msg":"a bug","err":{"message":"why"}}', 'a bug: why'],
  ['{"level":"info","msg":"ends: SIGTERM"}', 'ends: SIGTERM'],
  ['{"msg":7}', '{"msg":7}'],
  ['{"msg":"cut o', '{"msg":"cut o'],
  ['{', '{'],
])('what a line says that is %s', (line, words) => {
  expect(wordsOf(line)).toBe(words);
});
