import { machineCode } from './machine-code.js';

/** Sectors that a program copies, from `FIRST_SECTOR` on, inverting each byte; the copy lies right behind them. */
export const COPIED_SECTORS = 480;
export const FIRST_SECTOR = 64;
/** What the program says on the first serial port, and with which exit code QEMU ends by way of `isa-debug-exit` at port 0x501. */
export const COPIED = { text: 'copied', exitCode: (0x10 << 1) | 1 } as const;

const SECTOR_BYTES = 512;
const SIGNATURE = [0x55, 0xaa];

/** A boot sector that copies through int 13h, in batches of 120 sectors: a call cannot move 64 KiB. */
export function bootSector(): Uint8Array {
  const sector = new Uint8Array(SECTOR_BYTES);
  sector.set(machineCode(BOOT_SECTOR));
  sector.set(SIGNATURE, SECTOR_BYTES - SIGNATURE.length);
  return sector;
}

/** Loaded to 0x7c00 with the drive's number in dl. */
const BOOT_SECTOR = `
  start:
    31 c0                  ; xor ax,ax
    8e d8                  ; mov ds,ax
    8e d0                  ; mov ss,ax
    bc 00 7c               ; mov sp,0x7c00
    52                     ; push dx  — the drive that we come from, at 0x7bfe
    b8 00 10               ; mov ax,0x1000
    8e c0                  ; mov es,ax  — the buffer is at 0x10000
  batch:
    b4 42                  ; mov ah,0x42  — extended read
    e8 2b 00               ; call disk
    31 ff                  ; xor di,di
    b9 00 78               ; mov cx,0x7800  — words of a batch
  invert:
    26 f7 15               ; not es:[di]
    47                     ; inc di
    47                     ; inc di
    e2 f9                  ; loop invert
    81 06 75 7c e0 01      ; add ds:0x7c75,0x1e0  — to where it is written
    b8 00 43               ; mov ax,0x4300  — extended write
    e8 13 00               ; call disk
    81 2e 75 7c 68 01      ; sub ds:0x7c75,0x168  — to the next batch
    fe 0e 6c 7c            ; dec ds:0x7c6c
    75 d7                  ; jne batch
    be 7d 7c               ; mov si,0x7c7d
    b3 10                  ; mov bl,0x10
    eb 11                  ; jmp print
  disk:
    be 6d 7c               ; mov si,0x7c6d
    8a 16 fe 7b            ; mov dl,ds:0x7bfe
    cd 13                  ; int 0x13
    72 01                  ; jb failed
    c3                     ; ret
  failed:
    be 86 7c               ; mov si,0x7c86
    b3 11                  ; mov bl,0x11
  print:
    ba fd 03               ; mov dx,0x3fd
  wait:
    ec                     ; in al,dx
    a8 20                  ; test al,0x20  — the transmitter is free
    74 fb                  ; je wait
    ac                     ; lods al,ds:[si]
    84 c0                  ; test al,al
    74 06                  ; je exit
    ba f8 03               ; mov dx,0x3f8
    ee                     ; out dx,al
    eb ed                  ; jmp print
  exit:
    88 d8                  ; mov al,bl
    ba 01 05               ; mov dx,0x501
    ee                     ; out dx,al
  halt:
    f4                     ; hlt
    eb fd                  ; jmp halt
  batches:
    04                     ; 4
  packet:
    10 00                  ; size of the packet
    78 00                  ; 120 sectors
    00 00 00 10            ; to 0x1000:0
  lba:
    40 00 00 00 00 00 00 00 ; the first source sector, 64
  done:
    63 6f 70 69 65 64 0d 0a 00 ; copied
  failure:
    66 61 69 6c 65 64 0d 0a 00 ; failed
`;
