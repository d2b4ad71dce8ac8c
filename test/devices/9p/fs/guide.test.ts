import { describe, expect, it } from 'vitest';
import { runExample } from '../../../support/run-example.js';

describe('docs/file-systems.md', () => {
  it('shows an example that runs as it stands, and prints what the guide says', async () => {
    const printed = await runExample('docs/file-systems.md', 'test/devices/9p/fs/guide.test.ts');
    expect(printed.split('\n')).toEqual([
      'denied: walk /notes.key',
      'denied: create /notes.key',
      'added /notes.txt',
      'changed /src/main.c',
      'int main(void) { return 1; }',
    ]);
  });
});
