//! `layout!` turns a specification's table (offset, name, kind) into a view over `&[u8; N]` with one inlined accessor
//! a field, and into an owned `…Repr` that emits. The compiler checks that the fields tile the message: offsets that
//! leave a hole, overlap or run past the end do not build.
//!
//! Kinds: `u8 u16 u32 u64 i64`, `u48` (a `u64` of which 48 bits travel, big-endian only) and `[u8; N]`.

/// See the module's head. `be`/`le` is the byte order; `= b'A'` a constant type byte at offset 0.
macro_rules! layout {
    // Fields only: the caller says how it is emitted.
    (
        @fields
        $(#[$meta:meta])*
        $order:ident $View:ident, $Repr:ident: $length:literal $(= $type:literal)? {
            $( $(#[$doc:meta])* $at:literal $field:ident: $kind:tt, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $View<'a>(&'a [u8; $length]);

        impl<'a> $View<'a> {
            /// Bytes it takes.
            pub const LENGTH: usize = $length;
            $(
                /// Its type byte.
                pub const TYPE: u8 = $type;
            )?

            /// A view of exactly these bytes; a type byte is not looked at.
            #[inline]
            pub const fn new(bytes: &'a [u8; $length]) -> Self {
                const {
                    let mut _next = 0 $( + { let _ = $type; 1 } )?;
                    $(
                        assert!($at == _next, concat!("offset of ", stringify!($field)));
                        _next += kind!(size $kind);
                    )*
                    assert!(_next == $length, "the fields end where the message ends");
                }
                $View(bytes)
            }

            /// A view of the first bytes of a longer slice, or `Truncated`; a type byte is not looked at.
            #[inline]
            pub const fn prefix(bytes: &'a [u8]) -> Result<Self, $crate::wire::Error> {
                match bytes.first_chunk() {
                    Some(chunk) => Ok($View::new(chunk)),
                    None => Err($crate::wire::Error::truncated($length, bytes.len())),
                }
            }

            /// The bytes of the view.
            #[inline]
            pub const fn bytes(&self) -> &'a [u8; $length] {
                self.0
            }

            $(
                $(#[$doc])*
                #[inline]
                pub const fn $field(&self) -> kind!(type $kind) {
                    kind!(read $order $kind, self.0, $at, $length)
                }
            )*

            /// Every field by value.
            #[inline]
            pub const fn repr(&self) -> $Repr {
                $Repr { $( $field: self.$field(), )* }
            }
        }

        impl std::fmt::Debug for $View<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.repr().fmt(f)
            }
        }

        #[doc = concat!("The fields of [`", stringify!($View), "`] by value, to emit.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $Repr {
            $( $(#[$doc])* pub $field: kind!(type $kind), )*
        }

        impl $Repr {
            /// Bytes it takes.
            pub const LENGTH: usize = $length;

            /// Its bytes.
            #[inline]
            pub const fn to_bytes(&self) -> [u8; $length] {
                let mut bytes = [0; $length];
                $( bytes[0] = $type; )?
                $( kind!(write $order $kind, bytes, self.$field, $at, $length); )*
                bytes
            }
        }
    };
    (
        $(#[$meta:meta])*
        $order:ident $View:ident, $Repr:ident: $length:literal $(= $type:literal)? { $($fields:tt)* }
    ) => {
        layout! { @fields $(#[$meta])* $order $View, $Repr: $length $(= $type)? { $($fields)* } }

        impl $Repr {
            /// Writes it at the front of `out` and returns its length, or `NoRoom`.
            #[inline]
            pub fn emit(&self, out: &mut [u8]) -> Result<usize, $crate::wire::Error> {
                let room = out.len();
                let Some(bytes) = out.first_chunk_mut() else {
                    return Err($crate::wire::Error::no_room($length, room));
                };
                *bytes = self.to_bytes();
                Ok($length)
            }
        }
    };
}

/// What a field kind is, how many bytes it takes, and how it is read and written.
macro_rules! kind {
    (type u48) => {
        u64
    };
    (type $kind:tt) => {
        $kind
    };

    (size u48) => {
        6
    };
    (size $kind:tt) => {
        size_of::<$kind>()
    };

    // One eight-byte load that ends where the field ends: every `u48` here has at least two bytes before it.
    (read be u48, $bytes:expr, $at:literal, $length:literal) => {
        u64::from_be_bytes($crate::wire::layout::take::<{ $at - 2 }, 8, $length>($bytes)) & 0xffff_ffff_ffff
    };
    (read $order:ident [u8; $n:literal], $bytes:expr, $at:literal, $length:literal) => {
        $crate::wire::layout::take::<$at, $n, $length>($bytes)
    };
    (read be $kind:ident, $bytes:expr, $at:literal, $length:literal) => {
        $kind::from_be_bytes($crate::wire::layout::take::<$at, { size_of::<$kind>() }, $length>($bytes))
    };
    (read le $kind:ident, $bytes:expr, $at:literal, $length:literal) => {
        $kind::from_le_bytes($crate::wire::layout::take::<$at, { size_of::<$kind>() }, $length>($bytes))
    };

    (write be u48, $bytes:ident, $value:expr, $at:literal, $length:literal) => {{
        let [_, _, value @ ..] = $value.to_be_bytes();
        $crate::wire::layout::put::<$at, 6, $length>(&mut $bytes, value)
    }};
    (write $order:ident [u8; $n:literal], $bytes:ident, $value:expr, $at:literal, $length:literal) => {
        $crate::wire::layout::put::<$at, $n, $length>(&mut $bytes, $value)
    };
    (write be $kind:ident, $bytes:ident, $value:expr, $at:literal, $length:literal) => {
        $crate::wire::layout::put::<$at, { size_of::<$kind>() }, $length>(&mut $bytes, $value.to_be_bytes())
    };
    (write le $kind:ident, $bytes:ident, $value:expr, $at:literal, $length:literal) => {
        $crate::wire::layout::put::<$at, { size_of::<$kind>() }, $length>(&mut $bytes, $value.to_le_bytes())
    };
}

/// `N` bytes at `AT`; that they are there is checked at compile time.
#[inline(always)]
pub(crate) const fn take<const AT: usize, const N: usize, const LENGTH: usize>(bytes: &[u8; LENGTH]) -> [u8; N] {
    const { assert!(AT + N <= LENGTH) };
    let mut out = [0; N];
    out.copy_from_slice(bytes.split_at(AT).1.split_at(N).0);
    out
}

/// Writes `N` bytes at `AT`; that they fit is checked at compile time.
#[inline(always)]
pub(crate) const fn put<const AT: usize, const N: usize, const LENGTH: usize>(out: &mut [u8; LENGTH], value: [u8; N]) {
    const { assert!(AT + N <= LENGTH) };
    out.split_at_mut(AT).1.split_at_mut(N).0.copy_from_slice(&value);
}
