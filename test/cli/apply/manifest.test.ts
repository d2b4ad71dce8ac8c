import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadManifests } from '../../../cli/apply/manifest/load.js';
import { manifestText } from '../../../cli/apply/manifest/manifest-files.js';
import { manifestJsonSchema } from '../../../cli/apply/manifest/schema.js';
import { ChassisError } from '../../../manager/control/api.js';

function load(...texts: string[]) {
  const files = texts.map((text, i) => ({ file: `${'abc'[i]}.yaml`, directory: '/usr', text }));
  return loadManifests(files, { pathName: '/srv/chassis.yaml' });
}

/** What is said of the manifests, a line each, without what frames it; empty where they are good. */
function faults(...texts: string[]): string[] {
  try {
    load(...texts);
    return [];
  } catch (error) {
    if (!(error instanceof ChassisError) || error.code !== 'MANIFEST_INVALID') throw error;
    const lines = error.message.split('\n');
    expect(lines.pop()).toBe('nothing was changed');
    return lines.map((line) => line.trim());
  }
}

describe('a good manifest', () => {
  it('means what its words mean on the command line, with paths from its folder on', () => {
    const { manifest, chassis } = load(`
name: lab
chassis:
  dev:
    slots: 8
    mounts:
      bin: {source: bin, target: /work, watch: true}
      10:
        source: ./share/../share
        readOnly: true
        policy: {deny: ['**/.env'], maxBytes: 1G}
        owner: ['range:0:1000:10', 'range:20:2000:1']
        overlay: /var/changes
        slot: 3
      scratch: {source: "mem:", via: queue, port: vhost-user}
    disks:
      tmp: {source: mem:2M}
      qcow: {source: 'nbd+unix:///?socket=/run/x', overlay: true}
    cards:
      lan0: {network: {type: switch, switch: lan}, mac: "52:54:00:00:00:01", up: false}
`);
    expect(manifest).toBe('lab');
    const range = [
      { guest: 0, host: 1000, count: 10 },
      { guest: 20, host: 2000, count: 1 },
    ];
    expect(chassis[0].mounts).toMatchObject([
      { name: 'bin', terms: { source: { path: '/usr/bin' }, target: '/work', watch: true }, via: 'auto' },
      {
        name: '10',
        at: { file: 'a.yaml', line: 8, column: 7 },
        slot: 3,
        terms: {
          ...{ source: { type: 'directory', path: '/usr/share' }, readOnly: true },
          policy: { deny: ['**/.env'], maxBytes: 2 ** 30 },
          owner: { type: 'ranges', uids: range, gids: range },
          overlay: { type: 'directory', path: '/var/changes' },
        },
      },
      { name: 'scratch', terms: { source: { type: 'memory' } }, via: 'queue', port: 'vhost-user' },
    ]);
    expect(chassis[0].disks).toMatchObject([
      { name: 'tmp', options: { source: { type: 'memory', sizeBytes: 2 ** 21 }, serial: 'tmp' } },
      { name: 'qcow', options: { source: { type: 'nbd' }, overlay: true } },
    ]);
    expect(chassis[0].cards).toMatchObject([
      {
        name: 'lan0',
        options: { network: { switch: 'lan', isolated: false, macLock: false }, queuePairs: 1, up: false },
      },
    ]);
  });

  it('may be several documents and files, which say together what a chassis has', () => {
    const { manifest, chassis } = load(
      'chassis: {dev: {mounts: {a: {source: bin}}}}\n---\n# nothing\n---\nchassis: {ci: {}}\n',
      '{"chassis": {"dev": {"slots": 4, "mounts": {"b": {"source": "bin"}}}}}',
    );
    expect(manifest).toBe('/srv/chassis.yaml');
    expect(chassis.map(({ name }) => name)).toEqual(['dev', 'ci']);
    expect(chassis[0]).toMatchObject({ slots: 4, mounts: [{ name: 'a' }, { name: 'b' }] });
  });

  it('may use anchors and aliases', () => {
    const { chassis } = load('chassis: {dev: {mounts: {a: &a {source: bin, readOnly: true}, b: *a}}}');
    expect(chassis[0].mounts.map(({ name, terms }) => [name, terms.readOnly])).toEqual([
      ['a', true],
      ['b', true],
    ]);
  });

  it('may have names that JavaScript has a use for', () => {
    const { chassis } = load('chassis: {constructor: {mounts: {__proto__: {source: bin}}}}');
    expect(chassis).toMatchObject([{ name: 'constructor', mounts: [{ name: '__proto__' }] }]);
  });
});

/** What is wrong, the manifest, and all that is said of it. */
const BAD: [string, string, string[]][] = [
  [
    'unknown keys',
    'vm: {}\nchassis:\n  dev:\n    mount: {}\n    mounts:\n      a: {source: bin, read-only: true, xyzzy: 1}\n',
    [
      'a.yaml:1:1: "vm" is no key here',
      'the keys are: name, chassis',
      'a.yaml:4:5: "mount" is no key here',
      'did you mean "mounts"?',
      'a.yaml:6:24: "read-only" is no key here',
      'did you mean "readOnly"?',
      'a.yaml:6:41: "xyzzy" is no key here',
      'the keys are: source, readOnly, target, watch, policy, owner, overlay, via, slot, permanent, port',
    ],
  ],
  [
    'values of another kind',
    'chassis: {dev: {slots: 0, mounts: {a: {source: bin, watch: yes, via: funktion}, b: {source: 7}, c: }}}\n',
    [
      'a.yaml:1:24: slots: expected a whole number from 1 to 224, not 0',
      'a.yaml:1:60: watch: expected true or false, not "yes"',
      'YAML 1.2 knows true and false, and not yes, no, on or off',
      'a.yaml:1:70: via: expected one of: auto, function, queue, tree, not "funktion"',
      'did you mean "function"?',
      'a.yaml:1:93: source: expected a directory, from the folder of the manifest on, or "mem:", not 7',
      'put it in quotes: "7"',
      'a.yaml:1:97: c: expected a mount, which has a source at least, not nothing',
    ],
  ],
  [
    'what is missing, and what is there twice',
    'chassis:\n  dev:\n    mounts:\n      a: {}\n      b: {source: nowhere}\n      b: {source: bin}\n    disks:\n      d: {}\n    cards:\n      c: {network: {switch: lan}}\n      e: {network: {type: tab}}\n',
    [
      'a.yaml:4:7: "source" is missing',
      'it is a directory, from the folder of the manifest on, or "mem:"',
      'a.yaml:5:7: there is no /usr/nowhere',
      'create it, or check the spelling',
      'a.yaml:6:7: "b" is there twice',
      'leave one of them out',
      'a.yaml:8:7: a disk has a source or cloudInit',
      'add: source: IMAGE',
      'a.yaml:10:20: network has no type',
      'it is one of: switch, tap, passt',
      'a.yaml:11:27: type: expected one of: switch, tap, passt, not "tab"',
      'did you mean "tap"?',
    ],
  ],
  [
    'what does not go together',
    `chassis:
  dev:
    slots: 2
    mounts:
      a: {source: "mem:", overlay: true, watch: true, owner: mapped}
      b: {source: bin, target: /x, via: function}
      c: {source: bin, target: /x, slot: 3, policy: {maxFids: 5}}
      d: {source: bin, owner: root}
      e: {source: bin, slot: 1, overlay: ./changes}
      f: {source: bin, slot: 1}
    disks:
      a: {source: mem:1M, size: 2M}
      g: {source: mem:1.5M}
      h: {source: /etc/hosts, serial: s, overlay: true, readOnly: true}
      i: {source: /etc/hosts, serial: s, cloudInit: x}
      j: {source: /etc/hosts, serial: s, overlayDirectory: /tmp, size: 3}
`,
    [
      'a.yaml:5:36: "overlay": mem: has nothing that could be left as it is',
      'leave it out',
      'a.yaml:5:49: "watch": mem: has no changes on the host to watch',
      'leave it out',
      'a.yaml:5:62: "owner": mem: keeps owners and modes by itself',
      'leave it out',
      'a.yaml:6:32: "target": only mounts of the tree have a helper in the guest',
      'leave via out, or say via: tree',
      'a.yaml:7:7: there is no slot 3: dev has 2',
      'choose another, or more slots',
      'a.yaml:7:42: "slot": it is for a mount on a function of its own',
      'leave it out',
      'a.yaml:7:63: "maxFids": the mounts of the tree share one session',
      'leave it out, or say via: function',
      'a.yaml:8:31: "owner": "root" says nothing of owners',
      'a.yaml:9:7: a mount with a folder for its changes cannot share its slot',
      'give it another slot, or none',
      'a.yaml:12:7: the name "a" is taken in dev, at a.yaml:5:7 as well',
      'choose another',
      'a.yaml:12:33: "size": this disk has its size from its source',
      'leave it out',
      'a.yaml:13:19: "source": "1.5M" is no size of a disk',
      'give whole sectors of 512 bytes, as bytes or with K, M, G or T: 10G',
      'a.yaml:14:51: "overlay": an overlay is for writing over an image that stays as it is',
      'a.yaml:15:53: "cloudInit": it is in place of a source',
      'leave one out',
      'a.yaml:16:7: a disk with the serial "s" is at a.yaml:14:7 as well',
      'choose another',
      'a.yaml:16:60: "overlayDirectory": it is for an overlay',
      'add overlay: true',
      'a.yaml:16:72: "size": "3" is no size of a disk',
      'give whole sectors of 512 bytes, as bytes or with K, M, G or T: 10G',
    ],
  ],
  ['nothing at all', '# chassis: {}\n', ['a.yaml:1:1: it is empty', 'a manifest begins with: chassis:']],
  ['another thing', '[chassis]\n', ['a.yaml:1:1: expected a manifest, which has chassis, not a list']],
  [
    'text that looks like a key',
    'chassis: {dev: {mounts: {a: {source: mem:}}}}\n',
    [
      'a.yaml:1:38: no YAML: Block collections are not allowed within flow collections',
      'text that ends with a colon is put in quotes: "mem:"',
    ],
  ],
  [
    'names that control a terminal',
    'chassis: {dev: {"\\e[2J": 1, "\\u202Ex": 2}}\n',
    [
      'a.yaml:1:17: "\\u001b[2J" is no key here',
      'the keys are: slots, vmm, apiSocket, vm, provision, mounts, disks, cards',
      'a.yaml:1:29: "\\u202ex" is no key here',
      'the keys are: slots, vmm, apiSocket, vm, provision, mounts, disks, cards',
    ],
  ],
  [
    'tags of YAML that would make something else of a value',
    'chassis: !!set {dev: !ruby/object {}}\n',
    [
      'a.yaml:1:10: no YAML: Unresolved tag: tag:yaml.org,2002:set',
      'a.yaml:1:22: no YAML: Unresolved tag: !ruby/object',
    ],
  ],
];

describe('a chassis for Cloud Hypervisor', () => {
  it('has its API socket from the folder of the manifest on', () => {
    expect(
      load('chassis: {dev: {vmm: cloud-hypervisor, apiSocket: ch.sock}}', 'chassis: {dev: {slots: 3}}')
        .chassis,
    ).toMatchObject([{ vmm: 'cloud-hypervisor', apiSocket: '/usr/ch.sock', slots: 3 }]);
  });

  it.each([
    ['is for something else', 'vmm: xen', /^a\.yaml:1:22: vmm: expected one of: qemu, cloud-hypervisor, not/],
    ['has an API socket, and is for QEMU', 'apiSocket: x', /^a\.yaml:1:11: apiSocket is where Cloud Hyp/],
    [
      'has a socket that is too long',
      `vmm: cloud-hypervisor, apiSocket: ${'x'.repeat(120)}`,
      /^a\.yaml:1:51: "apiSocket": .* is longer than the 107 bytes/,
    ],
    [
      'is to be started',
      'vmm: cloud-hypervisor, vm: {}',
      /^a\.yaml:1:44: a manifest starts QEMU alone.*chassis args dev$/s,
    ],
    [
      'has two mounts in a slot',
      'vmm: cloud-hypervisor, mounts: {a: {source: bin, slot: 1}, b: {source: bin, slot: 1}}',
      /^a\.yaml:1:76: slot 1 has a mount already/,
    ],
    [
      'has a mount on a queue',
      'vmm: cloud-hypervisor, mounts: {a: {source: bin, via: queue}}',
      /^a\.yaml:1:49: Cloud Hypervisor takes no mounts on queues/,
    ],
  ])('is refused where it %s', (_, entry, expected) => {
    expect(faults(`chassis: {dev: {${entry}}}`).join('\n')).toMatch(expected);
  });

  it('is refused where two documents say different things of it', () => {
    expect(faults('chassis: {dev: {vmm: cloud-hypervisor}}', 'chassis: {dev: {vmm: qemu}}')).toEqual([
      'b.yaml:1:11: "dev" has the vmm qemu here, and the vmm cloud-hypervisor at a.yaml:1:11',
    ]);
  });
});

describe('what is done in guests', () => {
  it('has a default for all that is left out, and paths from the folder of the manifest on', () => {
    const [{ vm, provision }] = load(`
chassis:
  dev:
    vm: {memory: 2G, kernel: ./bin/sh, disks: [bin/sh]}
    provision:
      - {name: a, run: "true"}
      - {name: b, copy: {from: bin/., to: /b}, when: once}
      - {name: c, run: "id", user: www-data, timeout: 5, when: always}
`).chassis;
    expect(vm).toMatchObject({
      memoryMiB: 2048,
      boot: { kernel: '/usr/bin/sh', cpus: 1, disks: ['/usr/bin/sh'] },
    });
    expect(provision).toMatchObject([
      { name: 'a', action: { type: 'run', script: 'true' }, when: 'changed', timeoutMs: 600_000 },
      { name: 'b', action: { type: 'copy', from: '/usr/bin/.', to: '/b' }, when: 'once' },
      { name: 'c', user: 'www-data', timeoutMs: 5000, when: 'always' },
    ]);
  });

  it.each([
    ['two ways at once', '- {name: a, run: x, script: bin/sh}', /one of run, script and copy/],
    ['no way', '- {name: a}', /one of run, script and copy/],
    ['no name', '- {run: x}', /name/],
    ['a name that is a path', '- {name: ../a, run: x}', /a name of up to 64/],
    ['a script that is not there', '- {name: a, script: nowhere}', /there is no \/usr\/nowhere/],
    ['a script without an end', '- {name: a, script: /dev/zero}', /is not a file/],
    ['a target that is relative', '- {name: a, copy: {from: bin, to: b}}', /absolute path in the guest/],
    ['a user of a copy', '- {name: a, user: b, copy: {from: bin, to: /b}}', /what is copied is root's/],
    ['a user that is an option', '- {name: a, user: -c, run: x}', /a user's name/],
    ['a time that is none', '- {name: a, run: x, when: sometimes}', /once, changed or always/],
    ['the same name twice', '- {name: a, run: x}\n      - {name: a, run: y}', /a step called "a" is at/],
  ])('is refused with %s, with its place', (_what, step, expected) => {
    const all = faults(`chassis:\n  dev:\n    provision:\n      ${step}\n`);
    expect(all[0]).toMatch(/^a\.yaml:[45]:/);
    expect(all.join('\n')).toMatch(expected);
  });

  it.each([
    ['an initrd without a kernel', '{initrd: bin/sh}', /it is for a kernel/],
    ['too little memory', '{memory: 1M}', /from 64M to 1T/],
    ['a kernel that is not there', '{kernel: nowhere}', /there is no/],
    ['an accelerator that is more', '{accel: "kvm -S"}', /accelerator/],
    ['more memory than can be counted', '{memory: 99999999T}', /from 64M to 1T/],
    ['a name that no file has', '{kernel: "bin\\0"}', /cannot look at/],
  ])('refuses a VM with %s', (_what, vm, expected) => {
    expect(faults(`chassis: {dev: {vm: ${vm}}}\n`).join('\n')).toMatch(expected);
  });
});

describe('a bad manifest', () => {
  it.each(BAD)('with %s is told all of it, each with its place', (_, text, expected) => {
    expect(faults(text)).toEqual(expected);
  });

  it('of several files says which', () => {
    expect(
      faults(
        'name: a\nchassis: {dev: {slots: 3}}',
        'name: b\nchassis: {dev: {slots: 4, mounts: {x: {source: 1}}}}',
      ),
    ).toEqual([
      'b.yaml:1:7: "b" is another name than "a"',
      'what is applied together has one name',
      'b.yaml:2:11: "dev" has 4 slots here, and 3 slots at a.yaml:2:11',
      'b.yaml:2:48: source: expected a directory, from the folder of the manifest on, or "mem:", not 1',
      'put it in quotes: "1"',
    ]);
  });

  it('tells the first of very many faults, and how many there are', () => {
    const keys = Array.from({ length: 1000 }, (_, i) => `x${i}: 1`).join('\n');
    const lines = faults(`${keys}\nchassis: {}\n`);
    expect(lines).toHaveLength(101);
    expect(lines.at(-1)).toBe('and 950 more of the kind');
  });
});

describe('a file', () => {
  const refused = (bytes: Uint8Array): string[] => {
    try {
      manifestText('a.yaml', bytes);
      return [];
    } catch (error) {
      if (!(error instanceof ChassisError) || error.code !== 'MANIFEST_INVALID') throw error;
      return error.message.split('\n').map((line) => line.trim());
    }
  };

  it('may begin with a byte order mark', () => {
    expect(load(manifestText('a.yaml', Buffer.from('\ufeffchassis: {dev: {}}'))).chassis).toHaveLength(1);
    expect(faults(manifestText('a.yaml', Buffer.from('\ufeffx: 1\nchassis: {}')))[0]).toMatch(
      /^a\.yaml:1:1:/,
    );
  });

  it.each([
    ['a byte that is none', [0xff], 'a.yaml:2:4: it is no UTF-8 from here on'],
    ['an overlong letter', [0xc0, 0xaf], 'a.yaml:2:4: it is no UTF-8 from here on'],
    ['half a surrogate', [0xc3, 0xa4, 0xed, 0xa0, 0x80], 'a.yaml:2:5: it is no UTF-8 from here on'],
    ['a letter that is cut', [0xf0, 0x9f], 'a.yaml:2:4: it is no UTF-8 from here on'],
  ])('with %s is refused with the place', (_, bytes, expected) => {
    const file = Buffer.concat([Buffer.from('# \u{1f600}\na: '), Buffer.from(bytes)]);
    expect(refused(file)).toEqual([expected, 'save it as UTF-8', 'nothing was changed']);
  });

  it('in UTF-16, or of 10 MB, is refused', () => {
    expect(refused(Buffer.from('\ufeffchassis: {}', 'utf16le'))[0]).toMatch(/^a\.yaml:1:1: .*no UTF-8/);
    expect(refused(Buffer.alloc(10 << 20, 'x'))[0]).toMatch(/^a\.yaml:1:1: it has more than 1048576 bytes$/);
  });
});

describe('a hostile manifest', () => {
  it('says where it is wrong also after another fault, and in text of several lines', () => {
    expect(faults('""\n"\n": \n"\nx"\n').map((line) => line.split(' ')[0])).toEqual([
      ...['a.yaml:2:1:', 'a.yaml:3:2:', 'a.yaml:4:1:', 'a.yaml:5:1:'],
    ]);
  });

  it('cannot steer a terminal by what is said of it, or flood it', () => {
    const lines = faults(
      'chassis: {dev: {mounts: {a: {source: "\\e[2J\\u202e/x"}, b: {source: bin, "\\a": 1}}}}',
    );
    expect(lines[0]).toContain(String.raw`there is no /usr/\u001b[2J\u202e/x`);
    const long = faults(`chassis: {dev: {${'x'.repeat(100_000)}: 1}}`);
    expect(long.join('\n').length).toBeLessThan(1200);
  });

  it.each([
    ['deep lists', '['.repeat(100_000)],
    ['deep keys', '{a: '.repeat(50_000)],
    ['deep blocks', '- '.repeat(100_000)],
    ['explicit keys', '? '.repeat(100_000)],
    ['very many documents', '---\n'.repeat(100_000)],
    ['NUL bytes', '\0'.repeat(100_000)],
    ['one long line', `chassis: ${'x'.repeat(1_000_000)}`],
    ['very many keys', Array.from({ length: 10_000 }, (_, i) => `k${i}: 1`).join('\n')],
    ['very many anchors and aliases', `${'- &a x\n'.repeat(3000)}${'- *a\n'.repeat(3000)}`],
    ['an alias within itself', 'chassis: &a {dev: *a}'],
  ])('of %s gets an error that is short', (_, text) => {
    expect(faults(text).join('\n').length).toBeLessThan(20_000);
    expect(faults(text)).not.toEqual([]);
  });

  it('whose aliases stand for very much is not read to the end', () => {
    const mounts = Array.from({ length: 2000 }, (_, i) => `t${i}: {source: bin}`).join(', ');
    const chassis = Array.from({ length: 2000 }, (_, i) => `c${i}: *all`).join(', ');
    expect(faults(`chassis: {first: &all {mounts: {${mounts}}}, ${chassis}}`)).toContainEqual(
      expect.stringMatching(/with what aliases stand for, there are more than 250000 values/),
    );
  });

  const words = [
    ...[
      'chassis',
      'dev',
      'mounts',
      'source',
      'bin',
      'mem:',
      'policy',
      'deny',
      'slots',
      '8',
      'true',
      '~',
      '.inf',
    ],
    ...[
      ': ',
      ':',
      '- ',
      '[',
      ']',
      '{',
      '}',
      ', ',
      '\n',
      '  ',
      '&a ',
      '*a',
      '!!str ',
      '"',
      "'",
      '|\n',
      '>\n',
      '? ',
    ],
    ...['#', '---\n', '...\n', '%YAML 1.1\n', '<<: ', '0x10', '1e9', '\t', '\u0000', '\u{1f600}', '\\'],
  ];
  it.each([
    ['random bytes', fc.string({ unit: 'binary', maxLength: 400 })],
    [
      'random words of YAML',
      fc.array(fc.constantFrom(...words), { maxLength: 80 }).map((some) => some.join('')),
    ],
    [
      'random values in place of a chassis',
      fc.json({ maxDepth: 5 }).map((json) => `chassis: {dev: ${json}}`),
    ],
  ])('of %s is refused or read, and nothing else', (_, text) => {
    fc.assert(
      fc.property(text, (some) => {
        faults(some);
      }),
      { numRuns: 700 },
    );
  });
});

describe('the schema for editors', () => {
  it('knows what the reader knows: the keys of each thing, and what must be there', () => {
    const schema = manifestJsonSchema() as {
      $schema: string;
      properties: { chassis: { patternProperties: Record<string, { properties: Record<string, unknown> }> } };
    };
    expect(schema.$schema).toBe('https://json-schema.org/draft/2020-12/schema');
    const [chassis] = Object.values(schema.properties.chassis.patternProperties);
    expect(Object.keys(chassis.properties)).toEqual([
      'slots',
      'vmm',
      'apiSocket',
      'vm',
      'provision',
      'mounts',
      'disks',
      'cards',
    ]);
    expect(chassis.properties.mounts).toMatchObject({
      patternProperties: { '^(.*)$': { required: ['source'], additionalProperties: false } },
    });
  });
});
