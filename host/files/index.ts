export * from './attributes.js';
export * from './constants.js';
export * from './io.js';
export * from './iovec-buffer.js';
export * from './locks.js';
export * from './names.js';
export * from './space.js';
export * from './xattr.js';
