//! A filter as it is compiled: the standard library without what is not deterministic, and a [`tick`] in every place that a
//! loop or a growing value must pass.
//!
//! A filter loops by recursion, so each definition begins with a tick; `range` is the one native loop, so a tick follows it.
//! A value grows by construction, arithmetic and assignment, so a tick follows each of these too.

use jaq_core::data::JustLut;
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::load::{Arena, File, Lexer, Loader, Parser};
use jaq_core::native::{Fun, bome, run, v};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};
use jaq_core::{Compiler, Ctx, Error, Filter, Vars};
use jaq_json::Val;

use super::QUERY_BYTES_MAX;
use super::budget::{check_product, tick};
use super::value;

type Data = JustLut<Val>;

/// A compiled filter.
pub(super) struct Program {
    filter: Filter<Data>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").finish_non_exhaustive()
    }
}

/// Natives that read clocks, the environment or the time zone, or that reach outside.
const DENIED: [&str; 9] =
    ["env", "now", "halt", "localtime", "strflocaltime", "debug_empty", "stderr_empty", "input", "inputs"];
const TICK: &str = "__tick";
const MULTIPLY: &str = "__multiply";
const MAIN: &str = "__main";

impl Program {
    /// # Errors
    /// Where the query is too long, is no jq, or calls what there is not.
    pub(super) fn compile(query: &str) -> Result<Self, String> {
        if query.len() > QUERY_BYTES_MAX {
            let bytes = query.len();
            return Err(format!("a query of {bytes} bytes is past the limit of {QUERY_BYTES_MAX}"));
        }
        let main = Def { name: MAIN, args: Vec::new(), body: parse(query)? };
        let library = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).map(shorter);
        let defs = library.chain([main]).map(ticking_def);
        let arena = Arena::default();
        let modules = Loader::new(defs).load(&arena, File { code: MAIN, path: () });
        let modules = modules.map_err(|_| "the query cannot be read".to_owned())?;
        let filter = Compiler::default().with_funs(funs()).compile(modules).map_err(|errors| {
            let unknown = errors.into_iter().flat_map(|(_, errors)| errors);
            let words = unknown.map(|(name, what)| format!("{} {name} is not known", what.as_str()));
            words.collect::<Vec<_>>().join(", ")
        })?;
        Ok(Self { filter })
    }

    /// Gives each output to `take`, until that or the filter fails.
    pub(super) fn run(&self, input: Val, mut take: impl FnMut(Val) -> Result<(), String>) -> Result<(), String> {
        let context = Ctx::<Data>::new(&self.filter.lut, Vars::new([]));
        for output in self.filter.id.run((context, input)) {
            let value = output.map_err(|exception| match exception.get_err() {
                Ok(error) => value::shortened(error.to_string()),
                Err(_) => "the filter ended itself".to_owned(),
            })?;
            tick(&value);
            take(value)?;
        }
        Ok(())
    }
}

/// A definition of the library among those of a query.
fn shorter<'s>(def: Def<&'static str>) -> Def<&'s str> {
    def
}

fn parse(query: &str) -> Result<Term<&str>, String> {
    let tokens = Lexer::new(query).lex().map_err(|errors| {
        let at = errors.first().map_or("", |(_, at)| at);
        format!("it is no jq near {:?}", value::shortened(at.to_owned()))
    })?;
    Parser::new(&tokens).parse(|parser| parser.term()).map_err(|errors| match errors.first() {
        Some((expected, Some(token))) => {
            format!("it is no jq: {} is expected and not {:?}", expected.as_str(), token.0)
        }
        Some((expected, None)) => format!("it is no jq: {} is expected at its end", expected.as_str()),
        None => "it is no jq".to_owned(),
    })
}

/// The natives of the library, and our own.
fn funs() -> impl Iterator<Item = Fun<Data>> {
    let library = jaq_core::funs::<Data>().chain(jaq_std::funs::<Data>()).chain(jaq_json::funs::<Data>());
    let kept = library.filter(|(name, ..)| !DENIED.contains(name) && *name != "fromjson");
    let denied = [
        ("env", 0),
        ("now", 0),
        ("halt", 1),
        ("localtime", 0),
        ("strflocaltime", 1),
        ("debug_empty", 0),
        ("stderr_empty", 0),
    ];
    let denied = denied.map(|(name, arity)| {
        run::<Data>((name, v(arity), |_| bome(Err(Error::str("it is not there: a transform must be deterministic")))))
    });
    let own = [
        run::<Data>((TICK, v(0), |cv| {
            tick(&cv.1);
            bome(Ok(Val::Bool(true)))
        })),
        run::<Data>((MULTIPLY, v(2), |mut cv| {
            let right = cv.0.pop_var();
            let left = cv.0.pop_var();
            check_product(&left, &right);
            bome(left * right)
        })),
        run::<Data>(("fromjson", v(0), |cv| {
            let text = cv.1.try_as_utf8_bytes_owned();
            bome(text.and_then(|text| value::read(&text).map_err(Error::str)))
        })),
    ];
    kept.chain(denied).chain(own)
}

/// `if __tick then . else . end`: what passes a value on, also in a path.
fn pass<'s>() -> Term<&'s str> {
    Term::IfThenElse(vec![(Term::Call(TICK, Vec::new()), Term::Id)], None)
}

fn then<'s>(first: Term<&'s str>, second: Term<&'s str>) -> Term<&'s str> {
    Term::BinOp(Box::new(first), BinaryOp::Pipe(None), Box::new(second))
}

fn ticking_def(def: Def<&str>) -> Def<&str> {
    Def { body: then(pass(), ticking(def.body)), ..def }
}

fn boxed(term: Term<&str>) -> Box<Term<&str>> {
    Box::new(ticking(term))
}

fn all(terms: Vec<Term<&str>>) -> Vec<Term<&str>> {
    terms.into_iter().map(ticking).collect()
}

/// The term with its ticks.
fn ticking(term: Term<&str>) -> Term<&str> {
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => term,
        Term::Str(format, parts) => {
            let part = |part| match part {
                StrPart::Term(term) => StrPart::Term(ticking(term)),
                other => other,
            };
            let grows = parts.iter().any(|part| matches!(part, StrPart::Term(_)));
            let text = Term::Str(format, parts.into_iter().map(part).collect());
            if grows { then(text, pass()) } else { text }
        }
        Term::Arr(inner) => then(Term::Arr(inner.map(|inner| boxed(*inner))), pass()),
        Term::Obj(fields) => {
            // A key that stands for its value too (`{a}`, `{$x}`, `{"a"}`) must stay as it is written.
            let field = |(key, value): (_, Option<_>)| match value {
                Some(value) => (ticking(key), Some(ticking(value))),
                None => (key, None),
            };
            then(Term::Obj(fields.into_iter().map(field).collect()), pass())
        }
        Term::Neg(inner) => Term::Neg(boxed(*inner)),
        Term::BinOp(left, op, right) => operation(*left, op, *right),
        Term::Label(name, inner) => Term::Label(name, boxed(*inner)),
        Term::Fold(name, source, binding, updates) => Term::Fold(name, boxed(*source), pattern(binding), all(updates)),
        Term::TryCatch(tried, caught) => Term::TryCatch(boxed(*tried), caught.map(|caught| boxed(*caught))),
        Term::IfThenElse(cases, otherwise) => {
            let case = |(condition, value)| (ticking(condition), ticking(value));
            Term::IfThenElse(cases.into_iter().map(case).collect(), otherwise.map(|otherwise| boxed(*otherwise)))
        }
        Term::Def(defs, inner) => Term::Def(defs.into_iter().map(ticking_def).collect(), boxed(*inner)),
        Term::Call("range", args) if args.len() == 3 => then(Term::Call("range", all(args)), pass()),
        Term::Call(name, args) => Term::Call(name, all(args)),
        Term::Path(from, Path(parts)) => {
            let part = |(part, opt)| {
                let part = match part {
                    Part::Index(index) => Part::Index(ticking(index)),
                    Part::Range(from, to) => Part::Range(from.map(ticking), to.map(ticking)),
                };
                (part, opt)
            };
            Term::Path(boxed(*from), Path(parts.into_iter().map(part).collect()))
        }
    }
}

fn operation<'s>(left: Term<&'s str>, op: BinaryOp<&'s str>, right: Term<&'s str>) -> Term<&'s str> {
    let (left, right) = (ticking(left), ticking(right));
    let made = |op| Term::BinOp(Box::new(left.clone()), op, Box::new(right.clone()));
    match op {
        BinaryOp::Pipe(binding) => made(BinaryOp::Pipe(binding.map(pattern))),
        BinaryOp::Math(Math::Mul) => then(Term::Call(MULTIPLY, vec![left, right]), pass()),
        // `l *= r` is `r as $__r | l |= . * $__r`.
        BinaryOp::UpdateMath(Math::Mul) => {
            let product = Term::Call(MULTIPLY, vec![Term::Id, Term::Var("$__r")]);
            let update = Term::BinOp(Box::new(left), BinaryOp::Update, Box::new(product));
            let bind = BinaryOp::Pipe(Some(Pattern::Var("$__r")));
            then(Term::BinOp(Box::new(right), bind, Box::new(update)), pass())
        }
        op @ (BinaryOp::Math(_)
        | BinaryOp::Assign
        | BinaryOp::Update
        | BinaryOp::UpdateMath(_)
        | BinaryOp::UpdateAlt) => then(made(op), pass()),
        op @ (BinaryOp::Comma | BinaryOp::Alt | BinaryOp::Or | BinaryOp::And | BinaryOp::Cmp(_)) => made(op),
    }
}

fn pattern(binding: Pattern<&str>) -> Pattern<&str> {
    match binding {
        Pattern::Var(_) => binding,
        Pattern::Arr(inner) => Pattern::Arr(inner.into_iter().map(pattern).collect()),
        Pattern::Obj(fields) => {
            Pattern::Obj(fields.into_iter().map(|(key, value)| (ticking(key), pattern(value))).collect())
        }
    }
}
