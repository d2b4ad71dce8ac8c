import { expect } from 'vitest';
import type { ErrorCode } from '../../manager/control/api.js';

/** For `toMatchObject`, which takes a bare RegExp for an object without properties and so matches it with anything. */
export function refusal(code: ErrorCode, message = /./, suggestion?: RegExp) {
  return {
    code,
    message: expect.stringMatching(message) as string,
    ...(suggestion && { suggestion: expect.stringMatching(suggestion) as string }),
  };
}
