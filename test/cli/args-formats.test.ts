import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { afterDashes } from '../../cli/support/after-dashes.js';
import { libvirtDomain } from '../../cli/support/libvirt-xml.js';
import { systemdUnit } from '../../cli/support/systemd-unit.js';
import { temporaryFolders } from '../manager/temporary-folder.js';

const ARGS = [
  ...['-machine', 'q35,memory-backend=chassis-mem', '-m', '512M'],
  ...['-object', 'memory-backend-memfd,id=chassis-mem,size=512M,share=on'],
  ...['-device', 'pcie-root-port,id=chassis-slot1'],
  ...['-device', '{"driver":"vfio-user-pci","socket":{"path":"/d/it\'s <a> & b"}}'],
];

describe('libvirtDomain', () => {
  it('leaves machine and memory to libvirt, which shares it, and passes on the rest as it is', () => {
    expect(libvirtDomain({ name: 'dev', memoryMiB: 512, args: ARGS }).split('\n')).toEqual([
      "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>",
      '  <name>dev</name>',
      "  <memory unit='MiB'>512</memory>",
      '  <memoryBacking>',
      "    <source type='memfd'/>",
      "    <access mode='shared'/>",
      '  </memoryBacking>',
      '  <os>',
      "    <type arch='x86_64' machine='q35'>hvm</type>",
      '  </os>',
      '  <qemu:commandline>',
      "    <qemu:arg value='-device'/>",
      "    <qemu:arg value='pcie-root-port,id=chassis-slot1'/>",
      "    <qemu:arg value='-device'/>",
      "    <qemu:arg value='{&#34;driver&#34;:&#34;vfio-user-pci&#34;,&#34;socket&#34;:{&#34;path&#34;:&#34;/d/it&#39;s &#60;a&#62; &#38; b&#34;}}'/>",
      '  </qemu:commandline>',
      '</domain>',
    ]);
  });

  it('refuses what XML cannot say', () => {
    const args = ['-qmp', 'unix:/d/\u0001.sock'];
    expect(() => libvirtDomain({ name: 'dev', memoryMiB: 512, args })).toThrow(
      expect.objectContaining({
        code: 'BAD_REQUEST',
        message: String.raw`XML cannot say "unix:/d/\u0001.sock"`,
      }),
    );
  });
});

describe('systemdUnit', () => {
  const folder = temporaryFolders();
  const canVerify = spawnSync('systemd-analyze', ['--version']).status === 0;

  it('writes a flag and its value on a line, with what systemd would read into them escaped', () => {
    const args = ['-device', '{"path":"/100%/$HOME/a b"}', '-nographic', '-append', ';', '-name', 'a\\b'];
    const unit = systemdUnit({ chassis: 'dev', program: '/usr/bin/qemu', args });
    expect(unit).toContain(
      [
        'ExecStart=/usr/bin/qemu \\',
        String.raw`  -device "{\"path\":\"/100%%/$$HOME/a b\"}" \ `.trimEnd(),
        '  -nographic \\',
        '  -append ";" \\',
        String.raw`  -name "a\\b"`,
        '',
      ].join('\n'),
    );
  });

  it.runIf(canVerify)('is a unit that systemd finds nothing wrong with', () => {
    const unit = systemdUnit({ chassis: 'dev', program: process.execPath, args: ARGS });
    const path = join(folder(), 'chassis-vm-dev.service');
    writeFileSync(path, unit);
    const said = execFileSync('systemd-analyze', ['verify', '--man=no', path], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    expect(said).toBe('');
  });
});

describe('afterDashes', () => {
  it('keeps flags that are there twice with their values', () => {
    expect(afterDashes(['dev', '--', '-device', 'a', '-device', 'b', '--'])).toEqual([
      '-device',
      'a',
      '-device',
      'b',
      '--',
    ]);
    expect(afterDashes(['dev'])).toEqual([]);
  });
});
