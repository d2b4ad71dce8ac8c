/**
 * A file system of one's own: a JavaScript object as a directory. Objects are directories, functions are files that are computed whenever
 * one is opened, and anything else is a file with that text. Guests can read it, and change nothing: the base classes refuse that.
 */
import {
  Errno,
  FileMode,
  FsNode,
  OpenFile,
  OpenFlag,
  type Attributes,
  type ByteString,
  type DirectorySink,
  type Failure,
  type FileSystem,
  type IoVector,
} from 'chassis';

export type Content = string | number | boolean | (() => string | Promise<string>) | Folder;
export interface Folder {
  readonly [name: string]: Content;
}

export class DocumentFs implements FileSystem {
  readonly #root: FolderNode;

  constructor(folder: Folder) {
    this.#root = new FolderNode(folder);
  }

  attach(): FsNode {
    return this.#root;
  }

  close(): void {}
}

/** Inode numbers tell files apart: each node gets one, and keeps it. */
let lastInode = 0;

abstract class DocumentNode extends FsNode {
  readonly #inode = ++lastInode;

  protected abstract readonly mode: number;

  override getattr(out: Attributes): number {
    out.mode = this.mode;
    out.nlink = 1;
    out.inodeLow = this.#inode;
    // A size of 0 is what files in /proc have, too: only whoever opens one knows how much there is.
    out.sizeBytes = 0;
    return 0;
  }

  get inode(): number {
    return this.#inode;
  }

  // Nodes live as long as the file system does: nothing is counted.
  override retain(): void {}
  override release(): void {}
}

class FolderNode extends DocumentNode {
  protected readonly mode = FileMode.S_IFDIR | 0o555;
  readonly #children = new Map<ByteString, DocumentNode>();
  readonly #parent: FolderNode;

  constructor(folder: Folder, parent?: FolderNode) {
    super();
    this.#parent = parent ?? this;
    for (const [name, content] of Object.entries(folder)) {
      // Names are bytes, one a character.
      const bytes = Buffer.from(name, 'utf8').toString('latin1');
      const isFolder = typeof content === 'object';
      this.#children.set(bytes, isFolder ? new FolderNode(content, this) : new FileNode(content));
    }
  }

  override walk(name: ByteString): FsNode | Failure {
    return this.#children.get(name) ?? -Errno.ENOENT;
  }

  override parent(): FsNode {
    return this.#parent;
  }

  override open(): OpenFile {
    return new OpenFolder(this, this.#parent, [...this.#children]);
  }
}

class FileNode extends DocumentNode {
  protected readonly mode = FileMode.S_IFREG | 0o444;
  readonly #content: Exclude<Content, Folder>;

  constructor(content: Exclude<Content, Folder>) {
    super();
    this.#content = content;
  }

  override async open(flags: number): Promise<OpenFile | Failure> {
    if ((flags & OpenFlag.O_ACCMODE) !== OpenFlag.O_RDONLY) return -Errno.EROFS;
    try {
      const text = typeof this.#content === 'function' ? await this.#content() : String(this.#content);
      return new OpenText(this, Buffer.from(`${text}\n`));
    } catch {
      // Whatever the function threw: a guest understands errno numbers.
      return -Errno.EIO;
    }
  }
}

class OpenText extends OpenFile {
  readonly #node: DocumentNode;
  readonly #bytes: Uint8Array;

  constructor(node: DocumentNode, bytes: Uint8Array) {
    super();
    this.#node = node;
    this.#bytes = bytes;
  }

  override read(offset: number, into: IoVector): number {
    const part = this.#bytes.subarray(offset, offset + into.byteLength);
    return into.scatter(0, part, 0, part.length);
  }

  override getattr(out: Attributes): number {
    const answer = this.#node.getattr(out);
    out.sizeBytes = this.#bytes.length;
    return answer;
  }

  override close(): void {}
}

const DT_DIR = 4;
const DT_REG = 8;

class OpenFolder extends OpenFile {
  readonly #node: DocumentNode;
  readonly #entries: [ByteString, DocumentNode][];

  constructor(node: DocumentNode, parent: DocumentNode, children: [ByteString, DocumentNode][]) {
    super();
    this.#node = node;
    this.#entries = [['.', node], ['..', parent], ...children];
  }

  /** A cookie is how many entries were given. */
  override readdir(cookie: number, sink: DirectorySink): number {
    for (let at = cookie; at < this.#entries.length; at++) {
      const [name, node] = this.#entries[at];
      const type = node instanceof FolderNode ? DT_DIR : DT_REG;
      if (!sink.entry(name, node.inode, 0, type, at + 1)) break;
    }
    return 0;
  }

  override getattr(out: Attributes): number {
    return this.#node.getattr(out);
  }

  override close(): void {}
}
