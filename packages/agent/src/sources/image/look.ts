// What stands for and against backing a disk image up, and the images where hypervisors keep them.

import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { displayPath, fromText, toBytes, type ByteString } from '@holdfast/shared/base/byte-string';
import type { DiscoveredSource, Finding } from '../../jobs/job.ts';
import { HEADER_BYTES, type ImageFormat, imageFormatOf } from './image-format.ts';
import { deviceOf, isLocked } from './image-locks.ts';

const IMAGE_DIRECTORIES = ['/var/lib/libvirt/images', '/var/lib/vz/images', '/var/lib/incus/virtual-machines'];
const IMAGE_NAME = /\.(?:qcow2|raw|img)$/;
const DEEPEST = 2;
const MOST_PROPOSED = 50;
const MIB = 1024 * 1024;

/** @param path of the source, as its settings have it */
export function imageFindings(path: string): Finding[] {
  if (!path.startsWith('/')) {
    return [error('path', `${path} is no absolute path`, '--path /var/lib/libvirt/images/…')];
  }
  let fd: number;
  try {
    fd = openSync(toBytes(fromText(path)), 'r');
  } catch (thrown) {
    const missing = (thrown as NodeJS.ErrnoException).code === 'ENOENT';
    return missing
      ? [error('path', `${path} is not there`, `ls -l ${path}`)]
      : [error('path', `${path} cannot be read by the agent`, `chmod o+r ${path}, or run the agent as root`)];
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return [error('path', `${path} is no regular file`, 'Name the image itself.')];
    const header = Buffer.alloc(HEADER_BYTES);
    const format = imageFormatOf(header.subarray(0, readSync(fd, header, 0, HEADER_BYTES, 0)));
    const message = `${described(format, stat.size)}, ${mib(stat.blocks * 512)} allocated`;
    return [{ level: 'ok', subject: 'image', message, remedy: '' }, ...formatFindings(format), ...useFindings(stat)];
  } finally {
    closeSync(fd);
  }
}

function formatFindings({ backingFile, externalData, complaint }: ImageFormat): Finding[] {
  const findings: Finding[] = [];
  if (backingFile !== '') {
    const message = `it only adds to ${JSON.stringify(backingFile)}, which its snapshot does not have`;
    findings.push(
      warning('backing file', message, 'Protect that image as well, or join the two with qemu-img rebase.'),
    );
  }
  if (externalData) {
    const message = 'its content stands in another file, which its snapshot does not have';
    findings.push(error('data file', message, 'Name the data file as the path of a source of its own.'));
  }
  if (complaint !== '')
    findings.push(warning('image', `it ${complaint}`, 'qemu-img check -r all IMAGE, with the machine off'));
  return findings;
}

function useFindings(stat: { readonly dev: number; readonly ino: number }): Finding[] {
  if (!isLocked(readFileSync('/proc/locks', 'utf8'), deviceOf(stat.dev), stat.ino)) return [];
  return [
    warning(
      'use',
      'a program holds it open: a snapshot of it is like the disk after a power cut, at best',
      'Shut the machine down for the backup, or name a snapshot of the disk.',
    ),
  ];
}

function described({ format, clusterBytes, diskBytes }: ImageFormat, size: number): string {
  if (format === 'raw') return `raw, ${mib(size)}`;
  return `qcow2 of a disk of ${mib(diskBytes ?? 0)} in clusters of ${(clusterBytes ?? 0) / 1024} KiB, ${mib(size)} long`;
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / MIB)} MiB`;
}

function error(subject: string, message: string, remedy: string): Finding {
  return { level: 'error', subject, message, remedy };
}

function warning(subject: string, message: string, remedy: string): Finding {
  return { level: 'warning', subject, message, remedy };
}

/** Images in the directories of known hypervisors, and those of `more`. */
export function imagesOnHost(directories: readonly string[] = IMAGE_DIRECTORIES): DiscoveredSource[] {
  return directories
    .flatMap((directory) => imagesBelow(directory, DEEPEST))
    .slice(0, MOST_PROPOSED)
    .map((path) => {
      const name = path
        .slice(path.lastIndexOf('/') + 1)
        .replace(IMAGE_NAME, '')
        .replaceAll(/[^\w-]+/g, '-');
      return {
        type: 'image',
        name,
        settings: { path },
        description: `disk image ${displayPath(fromText(path))}, ${mib(statSync(path).size)}`,
        command: `holdfast source add ${name} --host HOST --type image --path '${path}'`,
      };
    });
}

function imagesBelow(directory: string, levels: number): ByteString[] {
  let entries;
  try {
    entries = readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
  return entries
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory() && levels > 0) return imagesBelow(path, levels - 1);
      return entry.isFile() && IMAGE_NAME.test(entry.name) && !path.includes("'") ? [path] : [];
    });
}
