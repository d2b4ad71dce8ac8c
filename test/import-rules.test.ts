import { ESLint } from 'eslint';
import { describe, expect, it } from 'vitest';

const root = new URL('..', import.meta.url).pathname;

/** The import rules that a file with this one import would break. */
async function violations(folder: string, specifier: string): Promise<string[]> {
  const eslint = new ESLint({
    cwd: root,
    overrideConfig: { languageOptions: { parserOptions: { projectService: false, project: null } } },
    ruleFilter: ({ ruleId }) => ruleId.includes('restricted'),
  });
  const [result] = await eslint.lintText(`import '${specifier}';\n`, {
    filePath: `${root}${folder}/probe.ts`,
  });
  return result.messages.map(({ ruleId }) => ruleId ?? 'parse');
}

describe('the import rules', () => {
  it.each([
    ['devices/virtio/ring', '../../../manager/control/api.js'],
    ['devices/9p/server', '../../virtio/device.js'],
    ['devices/9p', '../virtio/memory/guest-memory.js'],
    ['devices/pci', '../virtio/device.js'],
    ['devices/net', '../virtio/memory/guest-memory.js'],
    ['devices/net/switch', '../../virtio/device.js'],
    ['devices/net/switch', '../../../host/index.js'],
    ['devices/virtio/memory', '../device.js'],
    ['devices/9p/fs', '../../../host/index.js'],
    ['devices/virtio', 'node:fs'],
    ['guest', '../devices/errno.js'],
    ['guest', 'node:buffer'],
    ['host', '../devices/errno.js'],
    ['cli/commands', '../../manager/chassis/chassis.js'],
    ['cli/apply/plan', '../../../manager/control/client.js'],
    ['cli/apply/plan', '../execute.js'],
    ['manager', '../cli/support/exit-codes.js'],
    ['manager/chassis', '../vmm/qmp.js'],
  ])('refuse in %s an import of %s', async (folder, specifier) => {
    expect(await violations(folder, specifier)).not.toEqual([]);
  });

  it.each([
    ['devices/9p/fs/host-directory', '../../../../host/index.js'],
    ['devices/9p', '../virtio/device.js'],
    ['devices/net/backends/tap', '../../../../host/index.js'],
    ['manager/ports/in-process', '../../../guest/bus.js'],
    ['cli/commands', '../../manager/control/api.js'],
  ])('allow in %s an import of %s', async (folder, specifier) => {
    expect(await violations(folder, specifier)).toEqual([]);
  });
});
