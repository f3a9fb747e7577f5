// A process that watches a tree and tells its parent what it hears: one that the parent can stop and let go on.

import { fromText } from '@holdfast/shared/base/byte-string';
import { watchTree } from '../tree-watcher.ts';

const files = {
  paths: [fromText(process.argv[2] ?? '')],
  excludes: [],
  includes: [],
  oneFileSystem: false,
  excludeCaches: false,
  continuous: true,
  scanEverySeconds: 0,
};
watchTree({ files, maxDirectories: 100 }, (message) => process.send?.(message));
