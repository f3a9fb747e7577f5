// Worker threads are started from a file, and the file's extension differs between a checkout (.ts, run by Node as it is)
// and a build (.js). The running module's own extension says which one this is.

/** URL of the module `stem` (relative, without extension) beside the module whose `import.meta.url` is given. */
export function siblingModule(importMetaUrl: string, stem: string): URL {
  const extension = importMetaUrl.endsWith('.ts') ? '.ts' : '.js';
  return new URL(stem + extension, importMetaUrl);
}
