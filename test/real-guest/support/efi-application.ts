import { machineCode } from './machine-code.js';

const DOS_HEADER_BYTES = 64;
const COFF_HEADER_BYTES = 20;
const OPTIONAL_HEADER_BYTES = 240;
const FILE_ALIGNMENT = 512;
const PAGE_BYTES = 4096;
/** Where the one section is in the file, how much of it the file has, and how much room it has in memory, with the buffer. */
const SECTION = {
  fileOffset: 512,
  fileBytes: 512,
  address: PAGE_BYTES,
  memoryBytes: 17 * PAGE_BYTES,
} as const;

const IMAGE_FILE_MACHINE_AMD64 = 0x8664;
/** EXECUTABLE_IMAGE, LARGE_ADDRESS_AWARE. Not RELOCS_STRIPPED: it has no relocations, and can be anywhere. */
const CHARACTERISTICS = 0x22;
const PE32_PLUS_MAGIC = 0x20b;
const IMAGE_SUBSYSTEM_EFI_APPLICATION = 10;
const DATA_DIRECTORIES = 16;
/** CNT_CODE, MEM_EXECUTE, MEM_READ, MEM_WRITE. */
const SECTION_CHARACTERISTICS = 0xe0000020;

/** A UEFI application (PE32+) that copies sectors of the disk that it was loaded from, as `bootSector` does, through EFI_BLOCK_IO_PROTOCOL. */
export function efiApplication(): Uint8Array {
  const file = new Uint8Array(SECTION.fileOffset + SECTION.fileBytes);
  const view = new DataView(file.buffer);
  writeHeaders(view);
  file.set(machineCode(APPLICATION), SECTION.fileOffset);
  return file;
}

/** DOS header with the offset of the next, signature, COFF header, optional header, section header. */
function writeHeaders(view: DataView): void {
  view.setUint16(0, 0x5a4d, true);
  view.setUint32(0x3c, DOS_HEADER_BYTES, true);
  view.setUint32(DOS_HEADER_BYTES, 0x4550, true);
  const coff = DOS_HEADER_BYTES + 4;
  view.setUint16(coff, IMAGE_FILE_MACHINE_AMD64, true);
  view.setUint16(coff + 2, 1, true);
  view.setUint16(coff + 16, OPTIONAL_HEADER_BYTES, true);
  view.setUint16(coff + 18, CHARACTERISTICS, true);
  writeOptionalHeader(view, coff + COFF_HEADER_BYTES);
  writeSectionHeader(view, coff + COFF_HEADER_BYTES + OPTIONAL_HEADER_BYTES);
}

function writeOptionalHeader(view: DataView, at: number): void {
  view.setUint16(at, PE32_PLUS_MAGIC, true);
  view.setUint32(at + 4, SECTION.memoryBytes, true); // SizeOfCode
  view.setUint32(at + 16, SECTION.address, true); // AddressOfEntryPoint
  view.setUint32(at + 20, SECTION.address, true); // BaseOfCode
  view.setUint32(at + 32, PAGE_BYTES, true); // SectionAlignment
  view.setUint32(at + 36, FILE_ALIGNMENT, true);
  view.setUint32(at + 56, SECTION.address + SECTION.memoryBytes, true); // SizeOfImage
  view.setUint32(at + 60, SECTION.fileOffset, true); // SizeOfHeaders
  view.setUint16(at + 68, IMAGE_SUBSYSTEM_EFI_APPLICATION, true);
  view.setUint32(at + 108, DATA_DIRECTORIES, true);
}

function writeSectionHeader(view: DataView, at: number): void {
  view.setUint32(at, 0x7865742e, true); // '.tex'
  view.setUint32(at + 8, SECTION.memoryBytes, true);
  view.setUint32(at + 12, SECTION.address, true);
  view.setUint32(at + 16, SECTION.fileBytes, true);
  view.setUint32(at + 20, SECTION.fileOffset, true);
  view.setUint32(at + 36, SECTION_CHARACTERISTICS, true);
}

/** Called with the image's handle in rcx and the system table in rdx. 8 bytes for an interface's address, and the buffer, come behind. */
const APPLICATION = `
  start:
    53                     ; push rbx
    56                     ; push rsi
    57                     ; push rdi
    48 83 ec 30            ; sub rsp,0x30
    48 8b 5a 60            ; mov rbx,[rdx+0x60]  — SystemTable->BootServices
    48 8d 15 f1 00 00 00   ; lea rdx,[loadedImageGuid]
    4c 8d 05 1f 01 00 00   ; lea r8,[interface]
    ff 93 98 00 00 00      ; call [rbx+0x98]  — HandleProtocol(ImageHandle, …)
    48 85 c0               ; test rax,rax
    0f 85 b3 00 00 00      ; jne failed
    48 8b 0d 09 01 00 00   ; mov rcx,[interface]
    48 8b 49 18            ; mov rcx,[rcx+0x18]  — LoadedImage->DeviceHandle
    48 8d 15 d9 00 00 00   ; lea rdx,[blockIoGuid]
    4c 8d 05 f7 00 00 00   ; lea r8,[interface]
    ff 93 98 00 00 00      ; call [rbx+0x98]  — HandleProtocol(DeviceHandle, …)
    48 85 c0               ; test rax,rax
    0f 85 8b 00 00 00      ; jne failed
    48 8b 35 e1 00 00 00   ; mov rsi,[interface]  — BlockIo
    bf 40 00 00 00         ; mov edi,0x40  — the first source sector
  batch:
    48 8b 46 18            ; mov rax,[rsi+0x18]  — ReadBlocks
    e8 48 00 00 00         ; call transfer
    48 8d 15 d4 00 00 00   ; lea rdx,[buffer]
    b9 00 1e 00 00         ; mov ecx,0x1e00  — quadwords of a batch
  invert:
    48 f7 12               ; not [rdx]
    48 83 c2 08            ; add rdx,0x8
    e2 f7                  ; loop invert
    81 c7 e0 01 00 00      ; add edi,0x1e0  — to where it is written
    48 8b 46 20            ; mov rax,[rsi+0x20]  — WriteBlocks
    e8 24 00 00 00         ; call transfer
    81 ef 68 01 00 00      ; sub edi,0x168  — to the next batch
    81 ff 20 02 00 00      ; cmp edi,0x220  — behind the last source sector
    75 c5                  ; jne batch
    48 89 f1               ; mov rcx,rsi
    ff 56 28               ; call [rsi+0x28]  — FlushBlocks
    48 85 c0               ; test rax,rax
    75 39                  ; jne failed
    48 8d 35 7a 00 00 00   ; lea rsi,[done]
    b3 10                  ; mov bl,0x10
    eb 37                  ; jmp print
  transfer:
    48 83 ec 38            ; sub rsp,0x38
    48 8d 0d 88 00 00 00   ; lea rcx,[buffer]
    48 89 4c 24 20         ; mov [rsp+0x20],rcx  — Buffer
    48 8b 4e 08            ; mov rcx,[rsi+0x8]
    8b 11                  ; mov edx,[rcx]  — Media->MediaId
    48 89 f1               ; mov rcx,rsi
    41 89 f8               ; mov r8d,edi  — LBA
    41 b9 00 f0 00 00      ; mov r9d,0xf000  — BufferSize
    ff d0                  ; call rax
    48 83 c4 38            ; add rsp,0x38
    48 85 c0               ; test rax,rax
    75 01                  ; jne failed
    c3                     ; ret
  failed:
    48 8d 35 4a 00 00 00   ; lea rsi,[failure]
    b3 11                  ; mov bl,0x11
  print:
    66 ba fd 03            ; mov dx,0x3fd
  wait:
    ec                     ; in al,dx
    a8 20                  ; test al,0x20  — the transmitter is free
    74 fb                  ; je wait
    ac                     ; lods al,ds:[rsi]
    84 c0                  ; test al,al
    74 07                  ; je exit
    66 ba f8 03            ; mov dx,0x3f8
    ee                     ; out dx,al
    eb eb                  ; jmp print
  exit:
    88 d8                  ; mov al,bl
    66 ba 01 05            ; mov dx,0x501
    ee                     ; out dx,al
  halt:
    f4                     ; hlt
    eb fd                  ; jmp halt
  loadedImageGuid:
    a1 31 1b 5b 62 95 d2 11 8e 3f 00 a0 c9 69 72 3b ; EFI_LOADED_IMAGE_PROTOCOL_GUID
  blockIoGuid:
    21 5b 4e 96 59 64 d2 11 8e 39 00 a0 c9 69 72 3b ; EFI_BLOCK_IO_PROTOCOL_GUID
  done:
    63 6f 70 69 65 64 0d 0a 00 ; copied
  failure:
    66 61 69 6c 65 64 0d 0a 00 ; failed
`;
