import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonLineDecoder, JsonLinesError } from '../../manager/json-lines.js';

function decode(pieces: Iterable<Buffer>, maxLineBytes = 1000): unknown[] {
  const decoder = new JsonLineDecoder(maxLineBytes);
  const values: unknown[] = [];
  for (const piece of pieces) decoder.push(piece, (value) => values.push(value));
  return values;
}

describe('JsonLineDecoder', () => {
  it('refuses a line that is too long, before its end came', () => {
    expect(() => decode([Buffer.from('"'), Buffer.alloc(10, 'x')], 10)).toThrow(JsonLinesError);
  });

  it('accepts a line of exactly the limit', () => {
    expect(decode([Buffer.from('"12345678"\n')], 10)).toEqual(['12345678']);
  });

  it('counts each line by itself', () => {
    expect(decode([Buffer.from('1234567890\n1234567890\n12345')], 10)).toHaveLength(2);
  });

  it.each(['}\n', '{"a":\n', '1 2\n', '\x00\n', 'nul\n'])('refuses %j', (text) => {
    expect(() => decode([Buffer.from(text)])).toThrow(/not JSON/);
  });

  it('skips blank lines and carriage returns', () => {
    expect(decode([Buffer.from('\n\r\n  \n{"a":1}\r\n\n')])).toEqual([{ a: 1 }]);
  });

  it('keeps a line that has no end yet', () => {
    expect(decode([Buffer.from('1\n2')])).toEqual([1]);
  });

  it('finds the same values however the bytes are cut up', () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 60, maxLength: 60 });
    fc.assert(
      fc.property(fc.array(fc.jsonValue(), { maxLength: 5 }), cuts, (values, sizes) => {
        const bytes = Buffer.from(values.map((value) => JSON.stringify(value) + '\n').join(''));
        const pieces: Buffer[] = [];
        let at = 0;
        for (const size of sizes) pieces.push(bytes.subarray(at, (at += size)));
        pieces.push(bytes.subarray(at));
        expect(decode(pieces, 1 << 20)).toEqual(JSON.parse(JSON.stringify(values)));
      }),
    );
  });
});
