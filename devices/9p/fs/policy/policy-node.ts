/**
 * A file of a mount under a policy: asks the policy, each time, and the file system only then. What the policy says of a path is
 * remembered until a rename or another policy may have changed it.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import {
  FileMode,
  mapAnswer,
  OpenFlag,
  SetAttr,
  type AttributeChanges,
  type Attributes,
  type ByteString,
  type Created,
  type FileSystemStatistics,
  type FsNode,
  type MaybePromise,
  type OpenFile,
  type Owner,
} from '../file-system.js';
import type { Given, Kept } from '../kept.js';
import { NamedNode } from '../named-node.js';
import { accountOf, counted, sizeOf, type Making } from './counting.js';
import { Verdict } from './policy.js';
import type { PolicyContext } from './policy-context.js';
import { createCounted } from './creation.js';
import { isDirectory, isSameFile } from './looks.js';
import { opened, openHeld, reopened } from './opening.js';
import { PolicyFile } from './policy-file.js';
import { removeEntry, renameEntry } from './removal.js';

const WRITES = OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC;

export class PolicyNode extends NamedNode<PolicyNode> {
  readonly context: PolicyContext;
  readonly inner: FsNode;
  #version = -1;
  #verdict: Verdict = Verdict.denied;

  /** Takes over `inner`. */
  constructor(context: PolicyContext, parent: PolicyNode | null, name: ByteString, inner: FsNode) {
    super(parent, name);
    this.context = context;
    this.inner = inner;
  }

  protected override get self(): this {
    return this;
  }

  protected override onDetach(): void {
    // Open files and fids keep what was said of the last path.
  }

  protected override onRelease(): void {
    this.inner.release();
  }

  /** Within the export; '' for the root. */
  path(): ByteString {
    let path = '';
    for (let node: PolicyNode = this.self; node.parentNode !== null; node = node.parentNode)
      path = `/${node.name}${path}`;
    return path;
  }

  pathOf(name: ByteString): ByteString {
    return this.context.rules.hasPatterns || this.context.audit !== undefined ? `${this.path()}/${name}` : '';
  }

  get verdict(): Verdict {
    const { context } = this;
    if (this.#version === context.version) return this.#verdict;
    this.#verdict = context.rules.hasPatterns ? context.rules.judge(this.path()) : Verdict.allowed;
    this.#version = context.version;
    return this.#verdict;
  }

  /** 0 where the file may be looked at, and so far as it may be. */
  mayLook(operation: string): number {
    const { context, verdict } = this;
    const refused = context.isRevoked ? -Errno.ESTALE : verdict === Verdict.denied ? -Errno.EACCES : 0;
    return context.isAudited(refused) ? context.decided(operation, this.path(), refused) : refused;
  }

  /** 0 where the file may be changed. */
  mayChange(operation: string): number {
    const { context } = this;
    let refused = 0;
    if (context.isRevoked) refused = -Errno.ESTALE;
    else if (this.verdict !== Verdict.allowed) refused = -Errno.EACCES;
    else if (context.rules.readOnly) refused = -Errno.EROFS;
    return context.isAudited(refused) ? context.decided(operation, this.path(), refused) : refused;
  }

  /** 0 where the entry `name` may be made, replaced or removed. What does not show is -ENOENT to those who would remove it. */
  mayChangeEntry(operation: string, name: ByteString, hidden: Failure = -Errno.EACCES): number {
    const { context } = this;
    const { rules } = context;
    const path = this.pathOf(name);
    let refused = 0;
    if (context.isRevoked) refused = -Errno.ESTALE;
    else if (this.verdict === Verdict.denied) refused = -Errno.EACCES;
    else if (rules.hasPatterns) refused = refusalOf(rules.judge(path), hidden);
    if (refused === 0 && rules.readOnly) refused = -Errno.EROFS;
    return context.decided(operation, path, refused);
  }

  override getattr(out: Attributes): MaybePromise<number> {
    const refused = this.mayLook('getattr');
    return refused < 0 ? refused : this.inner.getattr(out);
  }

  override walk(name: ByteString, out?: Attributes): MaybePromise<PolicyNode | Failure> {
    const { context } = this;
    // Where there is nothing to ask, it is to cost next to nothing, and be answered at once where the file system does.
    if (context.isPathless && !context.isRevoked)
      return mapAnswer(this.inner.walk(name, out), (inner) => this.#found(name, inner));
    return context.naming(() => this.look(name, out));
  }

  #found(name: ByteString, inner: FsNode | Failure): MaybePromise<PolicyNode | Failure> {
    if (!isFailure(inner)) return this.childFor(name, inner);
    if (inner === -Errno.ENOENT) this.child(name)?.detach();
    return inner;
  }

  /** Walks where names lead elsewhere meanwhile for nobody. */
  async look(name: ByteString, out?: Attributes): Promise<PolicyNode | Failure> {
    const { context } = this;
    const path = this.pathOf(name);
    let verdict: Verdict = Verdict.allowed;
    let refused = context.isRevoked ? -Errno.ESTALE : this.verdict === Verdict.denied ? -Errno.EACCES : 0;
    if (refused === 0 && context.rules.hasPatterns) {
      verdict = context.rules.judge(path);
      if (verdict === Verdict.denied) refused = -Errno.ENOENT;
    }
    if (context.decided('walk', path, refused) < 0) return refused;
    const inner = await this.inner.walk(name, out);
    if (verdict === Verdict.passage && !isFailure(inner) && !(await isDirectory(inner))) {
      inner.release();
      return context.decided('walk', path, -Errno.ENOENT);
    }
    return this.#found(name, inner);
  }

  /** The node of what was found under `name`, with a reference for the caller. Takes over `inner`. */
  childFor(name: ByteString, inner: FsNode): MaybePromise<PolicyNode> {
    const known = this.child(name);
    if (known === undefined || known.inner === inner) return this.#childFor(name, inner, known);
    return isSameFile(known.inner, inner).then((isSame) =>
      this.#childFor(name, inner, isSame ? known : undefined),
    );
  }

  /** `same` is the node that is the same file, if there is one. */
  #childFor(name: ByteString, inner: FsNode, same: PolicyNode | undefined): PolicyNode {
    // Others may have walked there meanwhile.
    const current = this.child(name);
    if (current !== undefined && (current === same || current.inner === inner)) {
      inner.release();
      current.retain();
      return current;
    }
    current?.detach();
    const node = new PolicyNode(this.context, this, name, inner);
    this.adopt(node);
    return node;
  }

  override setattr(changes: AttributeChanges): MaybePromise<number> {
    const refused = this.mayChange('setattr');
    if (refused < 0) return refused;
    const cuts = (changes.valid & SetAttr.P9_ATTR_SIZE) !== 0;
    return cuts && this.context.limitsBytes ? this.#cut(changes) : this.inner.setattr(changes);
  }

  async #cut(changes: AttributeChanges): Promise<number> {
    const account = await accountOf(this.context, this.inner);
    if (account === undefined || isFailure(account) || changes.sizeBytes < 0)
      return this.inner.setattr(changes);
    const measure = (): Promise<number> => sizeOf(this.inner);
    const answer = await account.resize(changes.sizeBytes, measure, async () => this.inner.setattr(changes));
    account.release();
    return answer;
  }

  override open(flags: number, out?: Attributes): MaybePromise<OpenFile | Failure> {
    const refused = (flags & WRITES) === 0 ? this.mayLook('open') : this.mayChange('open');
    if (refused < 0) return refused;
    const full = this.context.takeOpenFile();
    if (full < 0) return this.context.decided('open', this.path(), full);
    if (this.context.limitsBytes) return openHeld(this, flags, out);
    return mapAnswer(this.inner.open(flags, out), (file) => opened(this, file, flags, undefined));
  }

  /** What is open stays so, whatever the policy says by now: it is asked about each use. */
  override reopen(flags: number, given: Given): MaybePromise<OpenFile | Failure> {
    this.context.openFiles++;
    return mapAnswer(this.inner.reopen(flags, given), (file) => reopened(this, file, flags));
  }

  /** What was taken from guests is gone for them. */
  override names(): readonly ByteString[] | undefined {
    return this.context.isRevoked ? undefined : super.names();
  }

  override keep(): Kept | Failure {
    return this.context.isRevoked ? -Errno.ESTALE : this.inner.keep();
  }

  override regain(name: ByteString, given: Given): MaybePromise<FsNode | Failure> {
    return mapAnswer(this.inner.regain(name, given), (inner) => {
      if (isFailure(inner)) return inner;
      const node = new PolicyNode(this.context, this, name, inner);
      this.adoptNameless(node);
      return node;
    });
  }

  override create(
    name: ByteString,
    flags: number,
    mode: number,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<Created | Failure> {
    const { context } = this;
    if (context.rules.hasPatterns || context.limitsFiles)
      return context.naming(() => createCounted(this, { name, flags, mode, owner, out }));
    const refused = this.mayChangeEntry('create', name);
    if (refused < 0) return refused;
    const full = context.takeOpenFile();
    if (full < 0) return context.decided('create', this.pathOf(name), full);
    return mapAnswer(this.inner.create(name, flags, mode, owner, out), (created) => {
      if (isFailure(created)) {
        context.openFiles--;
        return created;
      }
      return mapAnswer(this.childFor(name, created.node), (node) => {
        return { node, file: new PolicyFile(node, created.file, flags, undefined) };
      });
    });
  }

  override mkdir(
    name: ByteString,
    mode: number,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return this.#make('mkdir', name, FileMode.S_IFDIR, () => this.inner.mkdir(name, mode, owner, out));
  }

  override symlink(
    name: ByteString,
    target: ByteString,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return this.#make('symlink', name, FileMode.S_IFLNK, () => this.inner.symlink(name, target, owner, out));
  }

  override mknod(
    name: ByteString,
    mode: number,
    rdev: number,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return this.#make('mknod', name, FileMode.S_IFREG, () => this.inner.mknod(name, mode, rdev, owner, out));
  }

  #make(
    operation: string,
    name: ByteString,
    type: number,
    make: Making<FsNode>,
  ): MaybePromise<PolicyNode | Failure> {
    const { context } = this;
    if (!context.rules.hasPatterns && !context.limitsFiles) {
      const refused = this.mayChangeEntry(operation, name);
      if (refused < 0) return refused;
      return mapAnswer(make(), (made) => (isFailure(made) ? made : this.childFor(name, made)));
    }
    return context.naming(async () => {
      const refused = this.mayChangeEntry(operation, name);
      const made = refused < 0 ? refused : await counted(this.context, type, this.exists(name), make);
      return isFailure(made) ? made : this.childFor(name, made);
    });
  }

  override async link(name: ByteString, target: FsNode): Promise<number> {
    if (!this.sharesMountWith(target)) return -Errno.EXDEV;
    return this.context.naming(async () => {
      const refused = this.mayChangeEntry('link', name) || target.mayChange('link');
      if (refused < 0) return refused;
      return counted(this.context, FileMode.S_IFREG, this.exists(name), () =>
        this.inner.link(name, target.inner),
      );
    });
  }

  override readlink(): MaybePromise<ByteString | Failure> {
    const refused = this.mayLook('readlink');
    return refused < 0 ? refused : this.inner.readlink();
  }

  override unlink(name: ByteString, directory: boolean): MaybePromise<number> {
    const { context } = this;
    if (context.rules.hasPatterns || context.limitsFiles)
      return context.naming(() => removeEntry(this, name, directory));
    const refused = this.mayChangeEntry('unlink', name, -Errno.ENOENT);
    if (refused < 0) return refused;
    return mapAnswer(this.inner.unlink(name, directory), (error) => {
      if (error === 0) this.child(name)?.detach();
      return error;
    });
  }

  override async rename(name: ByteString, newDirectory: FsNode, newName: ByteString): Promise<number> {
    if (!this.sharesMountWith(newDirectory)) return -Errno.EXDEV;
    return this.context.renaming(() => renameEntry(this, name, newDirectory, newName));
  }

  override async remove(): Promise<number> {
    return this.context.naming(async () => {
      const directory = this.parentNode;
      if (directory === null) return -Errno.EBUSY;
      if (this.detached) return -Errno.ESTALE;
      return removeEntry(directory, this.name, await isDirectory(this.inner), this);
    });
  }

  override async renameTo(newDirectory: FsNode, newName: ByteString): Promise<number> {
    if (!this.sharesMountWith(newDirectory)) return -Errno.EXDEV;
    return this.context.renaming(async () => {
      const directory = this.parentNode;
      if (directory === null) return -Errno.EBUSY;
      if (this.detached) return -Errno.ESTALE;
      return renameEntry(directory, this.name, newDirectory, newName, this);
    });
  }

  override statfs(out: FileSystemStatistics): MaybePromise<number> {
    const refused = this.mayLook('statfs');
    if (refused < 0) return refused;
    return mapAnswer(this.inner.statfs(out), (error) => {
      if (error === 0 && this.context.limitsFiles) this.context.quota.clamp(out);
      return error;
    });
  }

  override getxattr(name: ByteString): MaybePromise<Uint8Array | Failure> {
    const refused = this.mayLook('getxattr');
    return refused < 0 ? refused : this.inner.getxattr(name);
  }

  override listxattr(): MaybePromise<Uint8Array | Failure> {
    const refused = this.mayLook('listxattr');
    return refused < 0 ? refused : this.inner.listxattr();
  }

  override setxattr(name: ByteString, value: Uint8Array, flags: number): MaybePromise<number> {
    const refused = this.mayChange('setxattr');
    return refused < 0 ? refused : this.inner.setxattr(name, value, flags);
  }

  override removexattr(name: ByteString): MaybePromise<number> {
    const refused = this.mayChange('removexattr');
    return refused < 0 ? refused : this.inner.removexattr(name);
  }

  exists(name: ByteString): () => Promise<boolean> {
    return async () => {
      const node = await this.inner.walk(name);
      if (isFailure(node)) return false;
      node.release();
      return true;
    };
  }

  sharesMountWith(node: FsNode): node is PolicyNode {
    return node instanceof PolicyNode && node.context === this.context;
  }
}

/** A passage is no file of the guest's to change; whoever would remove what does not show is told that there is nothing. */
function refusalOf(verdict: Verdict, hidden: Failure): number {
  if (verdict === Verdict.allowed) return 0;
  return verdict === Verdict.passage ? -Errno.EACCES : hidden;
}
