/** What the kernel's modules say about themselves, and the order in which to load them. */

export interface ModuleInfo {
  /** The kernel's name of it: underscores, no extension. */
  readonly name: string;
  /** Modules whose symbols it uses. */
  readonly depends: readonly string[];
  /** Modules, or aliases of modules, that it would like to find loaded (`softdep=pre: …`). */
  readonly wantsFirst: readonly string[];
  /** Names under which the kernel asks for it: `fs-9p`, `virtio:d00000009v*`. */
  readonly aliases: readonly string[];
}

/** A module's name from its file's: `virtio-rng.ko.xz` is `virtio_rng`. */
export function moduleName(fileName: string): string {
  return fileName.replace(/\.ko(\.\w+)?$/, '').replaceAll('-', '_');
}

/**
 * Reads the `.modinfo` section of a module: `key=value` strings, each ended by a NUL.
 * @throws RangeError where the file is not a 64-bit little-endian ELF object with such a section.
 */
export function readModuleInfo(name: string, module: Uint8Array): ModuleInfo {
  const fields = new Map<string, string[]>();
  const text = Buffer.from(elfSection(module, '.modinfo')).toString('latin1');
  for (const field of text.split('\0')) {
    const [key, value] = split(field, '=');
    fields.set(key, [...(fields.get(key) ?? []), value]);
  }
  const softDependencies = (fields.get('softdep') ?? []).map(
    (value) => /pre:(.*?)(post:|$)/.exec(value)?.[1] ?? '',
  );
  return {
    name,
    depends: words((fields.get('depends') ?? []).join(','), ',').map((word) => word.replaceAll('-', '_')),
    wantsFirst: softDependencies.flatMap((value) => words(value, ' ')),
    aliases: fields.get('alias') ?? [],
  };
}

/**
 * The modules to load for `wanted`, each after all that it needs. Names in `depends` that nothing provides are refused, those in
 * `wantsFirst` skipped: the kernel may have them built in.
 * @param find looks a module up by its name, or by an exact alias; undefined where there is none.
 */
export function loadOrder(
  wanted: readonly string[],
  find: (name: string) => ModuleInfo | undefined,
): ModuleInfo[] {
  const ordered = new Map<string, ModuleInfo>();
  const visiting = new Set<string>();
  const visit = (module: ModuleInfo) => {
    if (ordered.has(module.name) || visiting.has(module.name)) return;
    visiting.add(module.name);
    for (const first of module.wantsFirst.flatMap((name) => find(name) ?? [])) visit(first);
    for (const needed of module.depends) visit(required(needed, module.name));
    ordered.set(module.name, module);
  };
  const required = (name: string, by: string): ModuleInfo => {
    const module = find(name);
    if (module === undefined) throw new Error(`kernel module ${name}, needed by ${by}, is missing`);
    return module;
  };
  for (const name of wanted) visit(required(name, 'the testbed'));
  return [...ordered.values()];
}

/** The two files that modprobe reads, for modules that lie beside them as `<name>.ko`. */
export function modprobeIndex(modules: readonly ModuleInfo[]): { dep: string; alias: string } {
  const find = (name: string) =>
    modules.find((module) => module.name === name || module.aliases.includes(name));
  const dep = modules.map(({ name }) => {
    // modprobe loads them from last to first.
    const needed = loadOrder([name], find).slice(0, -1).reverse();
    return `${name}.ko:${needed.map((module) => ` ${module.name}.ko`).join('')}\n`;
  });
  const alias = modules.flatMap(({ name, aliases }) => aliases.map((text) => `alias ${text} ${name}\n`));
  return { dep: dep.join(''), alias: alias.join('') };
}

/** ELF-64 section header: name[4] type[4] flags[8] addr[8] offset[8] size[8] … */
function elfSection(file: Uint8Array, wanted: string): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint32(0) !== 0x7f454c46 || view.getUint16(4) !== 0x0201)
    throw new RangeError('not a 64-bit ELF file');
  const table = Number(view.getBigUint64(0x28, true));
  const entryBytes = view.getUint16(0x3a, true);
  const header = (index: number) => table + index * entryBytes;
  const body = (index: number) => {
    const offset = Number(view.getBigUint64(header(index) + 0x18, true));
    return file.subarray(offset, offset + Number(view.getBigUint64(header(index) + 0x20, true)));
  };
  const names = Buffer.from(body(view.getUint16(0x3e, true)));
  for (let index = 0; index < view.getUint16(0x3c, true); index++) {
    const start = view.getUint32(header(index), true);
    if (names.toString('latin1', start, names.indexOf(0, start)) === wanted) return body(index);
  }
  throw new RangeError(`the ELF file has no section ${wanted}`);
}

function split(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

function words(text: string, separator: string): string[] {
  return text
    .split(separator)
    .map((word) => word.trim())
    .filter((word) => word !== '');
}
